import type { Socket } from 'node:net'
import { asXpmemError, codeOf, XpmemError } from '../errors.js'
import type { InputOf, MessageOf, NameOf } from '../wire/schema-codec.js'
import { frameHeaderBytes, maxFrameBytes, type XpcSchema, xpcCodec } from '../wire/xpc-schema.js'
import { FrameReader, type TakeFrame } from './frames.js'
import { type FilePart, Stream } from './stream.js'

export type XpcName = NameOf<XpcSchema>
export type XpcMessage<N extends XpcName = XpcName> = MessageOf<XpcSchema, N>
export type XpcInput<N extends XpcName> = InputOf<XpcSchema, N>

/** Writes a message to a place, and tells how long it is. */
type Encode = (into: Uint8Array, at: number) => number

/** Writes content into a message, from a position on. */
export type Fill = (into: Uint8Array, at: number) => void

export interface ConnectionEvents {
  /** What it throws is told to the peer, and ends the connection. Bytes of the message are valid during the call only. */
  message(message: XpcMessage): void
  /** The connection is closed, and why; comes once, not after `close()`. */
  end(why: XpmemError): void
  /** Its descriptor is closed, whoever did it. */
  closed?(): void
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

/** Bytes of a header and its fields at the most. */
const maxFieldBytes = 64

/** How long a message without pages may become: rows of 40 bytes, or text of 3 bytes a character, behind its fields. */
function maxSmallBytes(input: { rows?: readonly unknown[]; text?: string; bytes?: Uint8Array }): number {
  const tail = (input.rows?.length ?? 0) * 40 + (input.text?.length ?? 0) * 3 + (input.bytes?.length ?? 0)
  return Math.min(maxFieldBytes + tail, maxFrameBytes)
}

/** One TCP connection between two services, cut into messages. */
export class XpcConnection {
  readonly #stream: Stream
  readonly #events: ConnectionEvents
  readonly #reader = new FrameReader()
  #patience: NodeJS.Timeout | undefined
  #lastWord: NodeJS.Timeout | undefined
  #closed = false
  /** Too much waits: nothing more is read or said. */
  #givenUp = false
  #bytesIn = 0
  #bytesOut = 0

  /** Takes a socket that has not been read from. */
  constructor(socket: Socket, events: ConnectionEvents) {
    this.#events = events
    this.#stream = new Stream(socket, {
      room: () => this.#reader.room(),
      came: (count) => this.#take(count),
      drained: () => this.#listen(),
      end: (why) => this.#end(why),
    })
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
    return this.#stream.remote
  }

  /**
   * What the peer does not take at once waits; while much waits little is read from it, so that it
   * cannot ask for much more, and one that lets too much wait is cut off.
   */
  send<N extends XpcName>(name: N, request: number, input: XpcInput<N>): void {
    if (this.#closed || this.#givenUp) return
    this.#say(maxSmallBytes(input), (into, at) => xpcCodec.encode(into, name, request, input, at))
  }

  /** As `send`, of a message that ends with `bytes` bytes, which `fill` writes. */
  sendFilled<N extends XpcName>(name: N, input: XpcInput<N>, bytes: number, fill: Fill): void {
    if (this.#closed || this.#givenUp) return
    this.#say(maxFieldBytes + bytes, (into, at) => {
      const fixed = xpcCodec.encode(into, name, 0, input, at)
      fill(into, at + fixed)
      return fixed + bytes
    })
  }

  /** As `send`, of a message that ends with a part of a file, which must not change before the peer has it. */
  sendFile<N extends XpcName>(name: N, input: XpcInput<N>, part: FilePart): void {
    if (this.#closed || this.#givenUp) return
    const write = this.#frame(part.length, (into, at) => xpcCodec.encode(into, name, 0, input, at))
    this.#stream.sayFile(frameHeaderBytes + maxFieldBytes, write, part)
    this.#bound()
  }

  /** `encode` writes a message of `length` bytes at the most to a place, and tells how long it is. */
  #say(length: number, encode: Encode): void {
    this.#stream.say(frameHeaderBytes + length, this.#frame(0, encode))
    this.#bound()
  }

  /** Writes a message and its length before it, which is larger by what follows of it. */
  #frame(follows: number, encode: Encode): Encode {
    return (into, at) => {
      const encoded = encode(into, at + frameHeaderBytes)
      const length = encoded + follows
      for (let byte = 0; byte < frameHeaderBytes; byte += 1) into[at + byte] = length >>> (8 * byte)
      this.#bytesOut += frameHeaderBytes + length
      return frameHeaderBytes + encoded
    }
  }

  #bound(): void {
    const { waiting } = this.#stream
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
    this.#stream.finish()
    this.#discard()
  }

  /** Closes at once, even if a last word is on its way. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#patience)
    clearTimeout(this.#lastWord)
    if (this.#stream.destroy()) this.#events.closed?.()
  }

  /** What the peer still says is not read; it has a moment to read the last word. */
  #discard(): void {
    this.#listen()
    this.#lastWord = setTimeout(() => this.close(), lastWordMs)
    this.#lastWord.unref()
  }

  #pause(): void {
    if (this.#patience !== undefined) return
    this.#stream.pause()
    this.#patience = setTimeout(() => this.#listen(), patienceMs)
    this.#patience.unref()
  }

  #listen(): void {
    clearTimeout(this.#patience)
    this.#patience = undefined
    this.#stream.resume()
  }

  #end(why: XpmemError): void {
    if (this.#closed) return this.close()
    this.close()
    this.#events.end(why)
  }

  #take(count: number): void {
    if (this.#closed) return
    this.#bytesIn += count
    try {
      this.#reader.came(count, this.#takeFrame)
    } catch (thrown) {
      const error = asXpmemError(thrown, 'xpc')
      if (this.#closed) return
      this.refuse(error)
      this.#events.end(error)
    }
  }

  /** False once the connection is closed. */
  readonly #takeFrame: TakeFrame = (bytes, at, length) => {
    const message = xpcCodec.decode(bytes, length, at)
    if (message.name === 'refuse') {
      this.#end(new XpmemError(codeOf(message.errno), 'xpc', `the other service refused: ${harmless(message.text)}`))
    } else {
      this.#events.message(message)
      this.#stream.leaveIfMuch()
    }
    return !this.#closed && !this.#givenUp
  }
}

/** A stranger's words, short and without what a terminal would obey: they are shown to people. */
function harmless(text: string): string {
  return text.slice(0, maxRefusalText).replace(/[\p{Cc}\p{Cf}]/gu, '?')
}
