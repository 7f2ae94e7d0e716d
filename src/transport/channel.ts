import { asXpmemError, XpmemError } from '../errors.js'
import { kernel, metaLength, type Poll } from '../kernel/index.js'
import { decode, encode, type Message, type MessageInput } from '../wire/codec.js'
import { type MessageName, maxMessageBytes } from '../wire/schema.js'
import { closeAll, closeDescriptor, type Descriptor } from './descriptor.js'

/** What the owner of a channel does with what comes in. */
export interface ChannelEvents {
  /** Descriptors came, before anything is known of the message. */
  arrived?(descriptors: readonly number[]): void
  /** One message. The descriptors are the receiver's to close. */
  message(message: Message, descriptors: number[], senderPid: number): void
  /** The channel is closed: the other end went, or `error` happened. Comes once, not after `close()`. */
  end(error: XpmemError | undefined): void
}

interface Waiting {
  readonly bytes: Uint8Array
  readonly descriptors: readonly Descriptor[]
}

/** Messages that are still heard of a peer that takes no more: as many as a socket holds, and not what it adds meanwhile. */
const maxLastWords = 512

const readable = 1
const writable = 2

// One of each for the whole thread: a message is decoded before the next is received.
const outgoing = new Uint8Array(maxMessageBytes)
const incoming = new Uint8Array(maxMessageBytes)
const meta = new Int32Array(metaLength)
const noNumbers: readonly number[] = []

/**
 * Whether a channel reads while its own messages wait to be taken. One that answers requests does
 * not, so a peer that does not read its answers cannot make them pile up; one that asks must, or two
 * full sockets would wait for each other.
 */
export type Reading = 'when-idle' | 'always'

/**
 * A connected SOCK_SEQPACKET socket that speaks the wire schema. What the socket does not take at
 * once waits here, in order.
 */
export class Channel {
  readonly #socket: number
  readonly #events: ChannelEvents
  readonly #poll: Poll
  readonly #waiting: Waiting[] = []
  #reading: Reading
  #paused = false
  /** The socket takes nothing any more. */
  #refused = false
  #closed = false

  constructor(socket: number, reading: Reading, events: ChannelEvents) {
    this.#socket = socket
    this.#reading = reading
    this.#events = events
    this.#poll = kernel.poll(socket, (happened) => this.#turn(happened))
    this.#watch()
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Whether messages wait for the socket to take them. */
  get congested(): boolean {
    return this.#waiting.length > 0
  }

  set reading(value: Reading) {
    this.#reading = value
    this.#watch()
  }

  send<N extends MessageName>(
    name: N,
    request: number,
    input: MessageInput<N>,
    descriptors: readonly Descriptor[] = [],
  ): void {
    if (this.#closed) return
    const length = encode(outgoing, name, request, input)
    if (this.#waiting.length === 0 && this.#trySend(outgoing, length, descriptors)) return
    if (this.#closed) return
    for (const descriptor of descriptors) descriptor.retain()
    this.#waiting.push({ bytes: outgoing.slice(0, length), descriptors })
    this.#watch()
  }

  /** Stops reading until `resume`. */
  pause(): void {
    this.#paused = true
    this.#watch()
  }

  resume(): void {
    this.#paused = false
    this.#watch()
  }

  ref(): void {
    this.#poll.ref()
  }

  unref(): void {
    this.#poll.unref()
  }

  /** Has the message sent and the socket closed if this thread ends without closing the channel. */
  setFarewell(message: Uint8Array): void {
    kernel.setFarewell(this.#socket, message)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#poll.close()
    kernel.forgetFarewell(this.#socket)
    closeDescriptor(this.#socket)
    for (const { descriptors } of this.#waiting.splice(0)) {
      for (const descriptor of descriptors) descriptor.release()
    }
  }

  #end(error: XpmemError | undefined): void {
    if (this.#closed) return
    this.close()
    this.#events.end(error)
  }

  #watch(): void {
    if (this.#closed) return
    const wanted = (this.#waiting.length > 0 ? writable : 0) | (this.#mayRead() ? readable : 0)
    if (wanted === 0) this.#poll.stop()
    else this.#poll.start(wanted)
  }

  #mayRead(): boolean {
    if (this.#closed || this.#paused) return false
    return this.#reading === 'always' || this.#waiting.length === 0
  }

  /** False if the socket is full. */
  #trySend(bytes: Uint8Array, length: number, descriptors: readonly Descriptor[]): boolean {
    if (this.#refused) return true
    try {
      const numbers = descriptors.length === 0 ? noNumbers : descriptors.map((descriptor) => descriptor.number)
      return kernel.send(this.#socket, bytes, length, numbers)
    } catch (error) {
      // The peer is gone. Its last words and its end are told from the event loop, never from inside a send.
      const failure = asXpmemError(error, 'send')
      this.#refused = true
      queueMicrotask(() => this.#endAfterLastWords(failure))
      return true
    }
  }

  #endAfterLastWords(failure: XpmemError): void {
    for (let taken = 0; taken < maxLastWords && !this.#closed; taken += 1) if (!this.#receiveOne()) break
    this.#end(failure)
  }

  #turn(happened: number): void {
    if ((happened & writable) !== 0) this.#flush()
    // One message a turn: the poll is level-triggered and comes back for the next, after the others
    // had theirs, and a lone request is not followed by a call that finds nothing.
    if ((happened & readable) !== 0 && this.#mayRead()) this.#receiveOne()
  }

  #flush(): void {
    for (let first = this.#waiting[0]; first !== undefined && !this.#closed; first = this.#waiting[0]) {
      if (!this.#trySend(first.bytes, first.bytes.length, first.descriptors)) return
      this.#waiting.shift()
      for (const descriptor of first.descriptors) descriptor.release()
    }
    this.#watch()
  }

  /** False when there is nothing more to receive now. */
  #receiveOne(): boolean {
    let length: number
    try {
      length = kernel.receive(this.#socket, incoming, meta)
    } catch (thrown) {
      const error = asXpmemError(thrown, 'receive')
      // Said once by a peer that closed before it read all of ours, ahead of what it said itself.
      if (error.code === 'ECONNRESET') return true
      this.#end(error)
      return false
    }
    if (length < 0) return false
    const count = meta[0] ?? 0
    const descriptors = count === 0 ? [] : Array.from(meta.subarray(3, 3 + count))
    if (count > 0) this.#events.arrived?.(descriptors)
    if (length === 0) {
      closeAll(descriptors)
      this.#end(undefined)
      return false
    }
    this.#take(length, descriptors)
    return true
  }

  #take(length: number, descriptors: number[]): void {
    const senderPid = meta[2] ?? 0
    let message: Message
    try {
      if (meta[1] !== 0) throw new XpmemError('EPROTO', 'message', 'the message or its descriptors were cut off')
      message = decode(incoming, length)
    } catch (error) {
      closeAll(descriptors)
      this.#end(asXpmemError(error, 'message'))
      return
    }
    this.#events.message(message, descriptors, senderPid)
  }
}
