import type { Socket } from 'node:net'
import { constants } from 'node:os'
import { getSystemErrorMap } from 'node:util'
import { asXpmemError, codeOf, XpmemError } from '../errors.js'
import { kernel, type Poll } from '../kernel/index.js'
import type { Descriptor } from '../transport/descriptor.js'
import type { Room } from './frames.js'

export interface StreamEvents {
  /** Where what comes next is to be put. */
  room(): Room
  /** So many bytes were put there. */
  came(count: number): void
  /** All that waited has been taken. */
  drained(): void
  /** The other end has gone, or has finished; the stream is to be destroyed. Not after that. */
  end(why: XpmemError): void
}

const readable = 1
const writable = 2

/** A part of a file that is to be sent. */
export interface FilePart {
  readonly file: Descriptor
  readonly offset: number
  readonly length: number
  /** Whether the other end may not have it any more: zeros leave instead. */
  readonly isVoid?: () => boolean
}

const never = () => false

/** One that waits. */
interface Attached extends Required<FilePart> {
  /** What is to be sent before it: up to this place of all that was ever said beside files. */
  readonly behind: number
  done: number
}

/** Bytes that there is room for at least. */
const leastBytes = 64 * 1024

/** For what may not be had any more. */
const zeros = new Uint8Array(64 * 1024)

/** Bytes that need not wait for more. */
const muchBytes = 64 * 1024

const soon = Promise.resolve()

/** Bytes that room is kept for, once it was needed. */
const keptBytes = 4 * 1024 * 1024

/**
 * A TCP connection, without what streams of Node cost: what is said is written where it is sent from,
 * and what comes is put where it is used.
 */
export class Stream {
  readonly remote: string
  readonly #socket: number
  readonly #poll: Poll
  readonly #events: StreamEvents
  #room: Room = { bytes: new Uint8Array(), at: 0 }
  readonly #flushNow = () => {
    this.#flushing = false
    this.#flush()
  }
  /** What is to be sent lies from `begin` to `end`. */
  #buffer = new Uint8Array(leastBytes)
  #view = new DataView(this.#buffer.buffer)
  #begin = 0
  #end = 0
  /** How much was ever sent of what lay there. */
  #sent = 0
  #files: Attached[] = []
  /** Bytes of them that are to be sent. */
  #fileBytes = 0
  #flushing = false
  #full = false
  #paused = false
  #finishing = false
  #closed = false

  /** Takes the connection over from a socket that has not been read from. */
  constructor(socket: Socket, events: StreamEvents) {
    socket.setNoDelay(true)
    this.remote = `${socket.remoteAddress}:${socket.remotePort}`
    this.#events = events
    this.#socket = kernel.duplicate(descriptorOf(socket))
    socket.on('error', () => {})
    socket.destroy()
    this.#poll = kernel.poll(this.#socket, (happened, taken) => this.#turn(happened, taken))
    this.#makeReady()
    this.#watch()
  }

  /** What comes is put where there is room for it. */
  #makeReady(): void {
    const { bytes, at } = this.#events.room()
    if (bytes === this.#room.bytes && at === this.#room.at) return
    this.#room = { bytes, at }
    this.#poll.take(bytes, at)
  }

  /** Bytes that wait to be taken. */
  get waiting(): number {
    return this.#end - this.#begin + this.#fileBytes
  }

  /**
   * Says something of `length` bytes at the most: `write` puts it there and tells how long it is. It
   * leaves when the event that is handled now is over, with all else that was said meanwhile.
   */
  say(length: number, write: (into: Uint8Array, at: number) => number): void {
    if (this.#closed) return
    const at = this.place(length)
    this.said(write(this.#buffer, at))
  }

  /**
   * The same in two steps: makes room for `length` bytes, and tells where they are to be put in `bytes`.
   * Then `said` says how many were.
   */
  place(length: number): number {
    this.#makeRoom(length)
    return this.#end
  }

  said(length: number): void {
    if (this.#closed) return
    this.#end += length
    this.#leaveSoon()
  }

  get bytes(): Uint8Array {
    return this.#buffer
  }

  /** All of `bytes`. */
  get view(): DataView {
    return this.#view
  }

  /**
   * A part of a file, behind all that was said. It is read when it leaves, in pieces if the other end is
   * slow: it must stay as it is until then. What the file has lost leaves as zeros.
   */
  sayFile({ file, offset, length, isVoid = never }: FilePart): void {
    if (this.#closed) return
    file.retain()
    this.#files.push({ file, offset, length, isVoid, behind: this.#sent + this.#end - this.#begin, done: 0 })
    this.#fileBytes += length
    this.#leaveSoon()
  }

  #leaveSoon(): void {
    if (this.#flushing || this.#full) return
    this.#flushing = true
    // A microtask, since it costs less than a tick, and comes as late.
    void soon.then(this.#flushNow)
  }

  /** An event is over, and others follow before what it said would leave: it leaves now if it is much. */
  leaveIfMuch(): void {
    if (this.#flushing && this.waiting >= muchBytes) this.#flush()
  }

  pause(): void {
    this.#paused = true
    this.#watch()
  }

  resume(): void {
    this.#paused = false
    this.#watch()
  }

  /** Nothing more is said. It leaves now, whatever comes next; when all has been taken the other end is told so. */
  finish(): void {
    this.#finishing = true
    this.#flush()
  }

  /** False if it was destroyed before. */
  destroy(): boolean {
    if (this.#closed) return false
    this.#closed = true
    this.#poll.close()
    kernel.close(this.#socket)
    for (const { file } of this.#files.splice(0)) file.release()
    return true
  }

  #fail(thrown: unknown): void {
    if (this.#closed) return
    this.#poll.stop()
    this.#events.end(asXpmemError(thrown, 'xpc'))
  }

  #makeRoom(length: number): void {
    if (this.#end + length <= this.#buffer.length) return
    const waiting = this.#buffer.subarray(this.#begin, this.#end)
    const needed = waiting.length + length
    if (needed <= this.#buffer.length) this.#buffer.copyWithin(0, this.#begin, this.#end)
    else this.#setBuffer(Math.max(2 * this.#buffer.length, needed), waiting)
    this.#end = waiting.length
    this.#begin = 0
  }

  #setBuffer(length: number, content: Uint8Array): void {
    const buffer = new Uint8Array(length)
    buffer.set(content)
    this.#buffer = buffer
    this.#view = new DataView(buffer.buffer)
  }

  #flush(): void {
    if (this.#closed) return
    try {
      while (this.waiting > 0 && this.#sendSome());
      if (this.waiting === 0 && this.#finishing) kernel.finish(this.#socket)
    } catch (error) {
      // Never from inside of something that is said.
      process.nextTick(() => this.#fail(error))
      return
    }
    const wasFull = this.#full
    this.#full = this.waiting > 0
    if (!this.#full) this.#rest()
    if (wasFull !== this.#full) this.#watch()
    if (wasFull && !this.#full) this.#events.drained()
  }

  /** Sends what is next. False if nothing more goes now. */
  #sendSome(): boolean {
    const part = this.#files[0]
    const before = part === undefined ? this.#end - this.#begin : part.behind - this.#sent
    if (part !== undefined && !part.isVoid()) return this.#sendWithFile(part, before)
    if (part !== undefined && before === 0) return this.#sendZeros(part)
    return this.#went(kernel.sendBytes(this.#socket, this.#buffer, this.#begin, before, part !== undefined))
  }

  /** Bytes of the buffer went, or none can now. */
  #went(sent: number): boolean {
    if (sent < 0) return false
    this.#begin += sent
    this.#sent += sent
    return true
  }

  #sendWithFile(part: Attached, before: number): boolean {
    const { file, offset, length, done } = part
    const [from, left] = [offset + done, Math.min(length - done, kernel.mostCopied)]
    const sent = kernel.sendWithFile(this.#socket, this.#buffer, this.#begin, before, file.number, from, left)
    if (!this.#went(Math.min(sent, before))) return false
    this.#fileWent(part, Math.max(0, sent - before))
    return true
  }

  /** What was announced must come. */
  #sendZeros(part: Attached): boolean {
    const left = part.length - part.done
    const sent = kernel.sendBytes(this.#socket, zeros, 0, Math.min(left, zeros.length), false)
    if (sent < 0) return false
    this.#fileWent(part, sent)
    return true
  }

  #fileWent(part: Attached, sent: number): void {
    part.done += sent
    this.#fileBytes -= sent
    if (part.done === part.length) this.#files.shift()?.file.release()
  }

  /** All is sent: the memory is used again from its beginning, and given back if much of it was needed once. */
  #rest(): void {
    this.#begin = 0
    this.#end = 0
    if (this.#buffer.length > keptBytes) this.#setBuffer(leastBytes, new Uint8Array())
  }

  #watch(): void {
    if (this.#closed) return
    const wanted = (this.#paused ? 0 : readable) | (this.#full ? writable : 0)
    if (wanted === 0) this.#poll.stop()
    else this.#poll.start(wanted)
  }

  #turn(happened: number, taken: number): void {
    if ((happened & writable) !== 0) this.#flush()
    if ((happened & readable) === 0 || this.#closed) return
    if (taken > 0) {
      this.#events.came(taken)
      if (!this.#closed) this.#makeReady()
    } else if (taken === 0) {
      this.#fail(new XpmemError('ECONNRESET', 'xpc', 'the other service closed the connection'))
    } else if (-taken !== constants.errno.EAGAIN) {
      const [, what] = getSystemErrorMap().get(taken) ?? ['', `errno ${-taken}`]
      this.#fail(new XpmemError(codeOf(-taken), 'xpc', `recv: ${what}`))
    }
  }
}

/** The file descriptor of a socket, which Node tells of its handle. */
function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: number } }
  if (handle?.fd === undefined || handle.fd < 0) throw new XpmemError('ECONNRESET', 'xpc', 'the connection has ended')
  return handle.fd
}
