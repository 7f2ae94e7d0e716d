import type { Socket } from 'node:net'
import { asXpmemError, codeOf, XpmemError } from '../errors.js'
import { type Pages, type PagesName, pagesBytes, readPages, writePages } from '../wire/pages-codec.js'
import type { InputOf, MessageOf, NameOf } from '../wire/schema-codec.js'
import { frameHeaderBytes, maxFrameBytes, type XpcSchema, xpcCodec } from '../wire/xpc-schema.js'
import { FrameReader, type TakeFrame } from './frames.js'
import { type FilePart, Stream } from './stream.js'

export type XpcName = NameOf<XpcSchema>
export type XpcMessage<N extends XpcName = XpcName> = MessageOf<XpcSchema, N>
export type XpcInput<N extends XpcName> = InputOf<XpcSchema, N>

/** What a message about pages ends with. */
export interface PageContent {
  /** Bytes that `fill` writes into the message, from a position on. */
  readonly bytes: number
  readonly fill?: (into: Uint8Array, at: number) => void
  readonly part?: FilePart
}

const noContent: PageContent = { bytes: 0 }

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
  /** Of what was read last. */
  #view: DataView = new DataView(new ArrayBuffer(0))
  #viewed: Uint8Array | undefined
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
    this.#stream.say(frameHeaderBytes + maxSmallBytes(input), (into, at) => {
      const length = xpcCodec.encode(into, name, request, input, at + frameHeaderBytes)
      for (let byte = 0; byte < frameHeaderBytes; byte += 1) into[at + byte] = length >>> (8 * byte)
      this.#bytesOut += frameHeaderBytes + length
      return frameHeaderBytes + length
    })
    this.#bound()
  }

  /**
   * As `send`, of a message about pages, which ends with `bytes` bytes that `fill` writes, or with a part
   * of a file, which must not change before it has left.
   */
  sendPages(name: PagesName, pages: Pages, content: PageContent = noContent): void {
    if (this.#closed || this.#givenUp) return
    const { part, fill } = content
    const filled = fill === undefined ? 0 : content.bytes
    const at = this.#stream.place(frameHeaderBytes + pagesBytes + filled)
    const { view } = this.#stream
    const length = pagesBytes + filled + (part?.length ?? 0)
    view.setUint32(at, length, true)
    writePages(view, at + frameHeaderBytes, name, pages)
    fill?.(this.#stream.bytes, at + frameHeaderBytes + pagesBytes)
    this.#stream.said(frameHeaderBytes + pagesBytes + filled)
    if (part !== undefined) this.#stream.sayFile(part)
    this.#bytesOut += frameHeaderBytes + length
    this.#bound()
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

  /** Mostly it is the same memory again. */
  #viewOf(bytes: Uint8Array): DataView {
    if (bytes !== this.#viewed) this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#viewed = bytes
    return this.#view
  }

  /** False once the connection is closed. */
  readonly #takeFrame: TakeFrame = (bytes, at, length) => {
    const message = readPages(this.#viewOf(bytes), bytes, at, length) ?? xpcCodec.decode(bytes, length, at)
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
