import type { Socket } from 'node:net'
import { asXpmemError, codeOf, XpmemError } from '../errors.js'
import type { InputOf, MessageOf, NameOf } from '../wire/schema-codec.js'
import { frameHeaderBytes, maxFrameBytes, type XpcSchema, xpcCodec } from '../wire/xpc-schema.js'
import { FrameReader } from './frames.js'

export type XpcName = NameOf<XpcSchema>
export type XpcMessage<N extends XpcName = XpcName> = MessageOf<XpcSchema, N>
export type XpcInput<N extends XpcName> = InputOf<XpcSchema, N>

/** Writes content into a message, from a position on. */
export type Fill = (into: Uint8Array, at: number) => void

export interface ConnectionEvents {
  /** What it throws is told to the peer, and ends the connection. Bytes of the message are valid during the call only. */
  message(message: XpcMessage): void
  /** The connection is closed, and why; comes once, not after `close()`. */
  end(why: XpmemError): void
}

/** Bytes that may wait for a peer to take them before nothing more is read from it. */
const highWaterBytes = 4 * 1024 * 1024

/** Bytes that may wait for it at all. */
const maxWaitingBytes = 64 * 1024 * 1024

/**
 * How long a peer that leaves much unread is not listened to. It may do the same with this end, and
 * then neither would ever take a word of the other's.
 */
const patienceMs = 100

/** How long the other end has to read the last word. */
const lastWordMs = 1_000

/** Characters of a last word at the most, said or heard. */
const maxRefusalText = 300

const outgoing = new Uint8Array(frameHeaderBytes + maxFrameBytes)
const outgoingView = new DataView(outgoing.buffer)

/** One TCP connection between two services, cut into messages. */
export class XpcConnection {
  readonly #socket: Socket
  readonly #events: ConnectionEvents
  readonly #reader = new FrameReader()
  #patience: NodeJS.Timeout | undefined
  #closed = false
  #holdingBack = false
  /** Too much waits: nothing more is read or said. */
  #givenUp = false
  #bytesIn = 0
  #bytesOut = 0

  constructor(socket: Socket, events: ConnectionEvents) {
    this.#socket = socket
    this.#events = events
    socket.setNoDelay(true)
    socket.on('data', (chunk: Uint8Array) => this.#take(chunk))
    socket.on('drain', () => this.#listen())
    socket.on('error', (error) => this.#end(asXpmemError(error, 'xpc')))
    socket.on('close', () => this.#end(new XpmemError('ECONNRESET', 'xpc', 'the other service closed the connection')))
  }

  get closed(): boolean {
    return this.#closed
  }

  get bytesIn(): number {
    return this.#bytesIn
  }

  get bytesOut(): number {
    return this.#bytesOut
  }

  /** Where the other end is, for people. */
  get remote(): string {
    return `${this.#socket.remoteAddress}:${this.#socket.remotePort}`
  }

  /**
   * What the peer does not take at once waits; while much waits little is read from it, so that it
   * cannot ask for much more, and one that lets too much wait is cut off.
   */
  send<N extends XpcName>(name: N, request: number, input: XpcInput<N>): void {
    if (this.#closed || this.#givenUp) return
    const length = xpcCodec.encode(outgoing.subarray(frameHeaderBytes), name, request, input)
    outgoingView.setUint32(0, length, true)
    this.#write(outgoing.slice(0, frameHeaderBytes + length))
  }

  /** As `send`, of a message that ends with `bytes` bytes, which `fill` writes. */
  sendFilled<N extends XpcName>(name: N, input: XpcInput<N>, bytes: number, fill: Fill): void {
    if (this.#closed || this.#givenUp) return
    const fixed = xpcCodec.encode(outgoing.subarray(frameHeaderBytes), name, 0, input)
    outgoingView.setUint32(0, fixed + bytes, true)
    const start = frameHeaderBytes + fixed
    const frame = Buffer.allocUnsafe(start + bytes)
    frame.set(outgoing.subarray(0, start))
    fill(frame, start)
    this.#write(frame)
  }

  /**
   * What is said while an event is handled leaves together, after all that the event does: a page is
   * out of memory here before somebody else can have it.
   */
  #holdBack(): void {
    if (this.#holdingBack) return
    this.#holdingBack = true
    this.#socket.cork()
    process.nextTick(() => {
      this.#holdingBack = false
      this.#socket.uncork()
    })
  }

  #write(bytes: Uint8Array): void {
    this.#bytesOut += bytes.length
    this.#holdBack()
    this.#socket.write(bytes)
    const waiting = this.#socket.writableLength
    if (waiting > maxWaitingBytes) {
      const why = new XpmemError('ETIMEDOUT', 'xpc', `the other service leaves ${waiting} bytes unread`)
      this.#givenUp = true
      queueMicrotask(() => this.#end(why))
    } else if (waiting > highWaterBytes) this.#pause()
  }

  /** Says why, and closes. */
  refuse(error: XpmemError): void {
    if (this.#closed) return
    this.send('refuse', 0, { errno: error.errno, text: error.reason.slice(0, maxRefusalText) })
    this.#closed = true
    this.#socket.end()
    this.#discard()
  }

  /** Closes at once, even if a last word is on its way. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#patience)
    this.#socket.destroy()
  }

  /** What the peer still says is not read; it has a moment to read the last word. */
  #discard(): void {
    this.#socket.removeAllListeners('data')
    this.#listen()
    const timer = setTimeout(() => this.close(), lastWordMs)
    timer.unref()
    this.#socket.once('close', () => clearTimeout(timer))
  }

  #pause(): void {
    if (this.#patience !== undefined) return
    this.#socket.pause()
    this.#patience = setTimeout(() => this.#listen(), patienceMs)
    this.#patience.unref()
  }

  #listen(): void {
    clearTimeout(this.#patience)
    this.#patience = undefined
    this.#socket.resume()
  }

  #end(why: XpmemError): void {
    if (this.#closed) return
    this.close()
    this.#events.end(why)
  }

  #take(chunk: Uint8Array): void {
    if (this.#closed) return
    this.#bytesIn += chunk.length
    try {
      this.#reader.push(chunk, (frame) => this.#takeFrame(frame))
    } catch (thrown) {
      const error = asXpmemError(thrown, 'xpc')
      if (this.#closed) return
      this.refuse(error)
      this.#events.end(error)
    }
  }

  /** False once the connection is closed. */
  #takeFrame(frame: Uint8Array): boolean {
    const message = xpcCodec.decode(frame, frame.length)
    if (message.name === 'refuse') {
      this.#end(new XpmemError(codeOf(message.errno), 'xpc', `the other service refused: ${harmless(message.text)}`))
    } else {
      this.#events.message(message)
    }
    return !this.#closed && !this.#givenUp
  }
}

/** A stranger's words, short and without what a terminal would obey: they are shown to people. */
function harmless(text: string): string {
  return text.slice(0, maxRefusalText).replace(/[\p{Cc}\p{Cf}]/gu, '?')
}
