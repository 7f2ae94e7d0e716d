/** A client that speaks the wire protocol by hand, for tests of what the service makes of it. */
import { kernel, metaLength } from '../../src/kernel/index.js'
import { decode, encodeOwn, type Message, type MessageInput } from '../../src/wire/codec.js'
import { type MessageName, maxMessageBytes, protocolVersion, role } from '../../src/wire/schema.js'
import { until } from './until.js'

const meta = new Int32Array(metaLength)
const buffer = new Uint8Array(maxMessageBytes)

export class RawClient {
  readonly socket: number
  /** The service closed the connection. */
  ended = false
  readonly received: Message[] = []
  #lastRequest = 1_000
  #closed = false

  constructor(socketPath: string) {
    this.socket = kernel.connect(socketPath)
  }

  /** Sends bytes as they are; false if the socket is full. EPIPE and the like count as the end. */
  sendBytes(bytes: Uint8Array, descriptors: readonly number[] = []): boolean {
    try {
      return kernel.send(this.socket, bytes, bytes.length, descriptors)
    } catch {
      this.poll()
      this.ended = true
      return true
    }
  }

  send<N extends MessageName>(
    name: N,
    request: number,
    input: MessageInput<N>,
    descriptors: readonly number[] = [],
  ): boolean {
    return this.sendBytes(encodeOwn(name, request, input), descriptors)
  }

  /** Takes what is there without waiting. */
  poll(): void {
    while (!this.ended) {
      let length: number
      try {
        length = kernel.receive(this.socket, buffer, meta)
      } catch (error) {
        // Said once by a socket that was closed with our words unread, ahead of its own last words.
        if ((error as NodeJS.ErrnoException).code === 'ECONNRESET') continue
        length = 0
      }
      if (length < 0) return
      for (let index = 0; index < (meta[0] ?? 0); index += 1) kernel.close(meta[3 + index] as number)
      if (length === 0) this.ended = true
      else this.received.push(decode(buffer, length))
    }
  }

  /** The answer to a request; undefined if the connection ended before it. */
  async answer(request: number): Promise<Message | undefined> {
    const found = () => this.received.find((message) => message.request === request)
    await until(() => {
      this.poll()
      return found() !== undefined || this.ended
    })
    return found()
  }

  /** Sends a request, waiting for room, and waits for its answer. */
  async request<N extends MessageName>(
    name: N,
    input: MessageInput<N>,
    descriptors: readonly number[] = [],
  ): Promise<Message | undefined> {
    this.#lastRequest += 1
    const request = this.#lastRequest
    await until(() => this.send(name, request, input, descriptors))
    const answer = await this.answer(request)
    if (answer !== undefined) this.received.splice(this.received.indexOf(answer), 1)
    return answer
  }

  async whenEnded(): Promise<void> {
    await until(() => {
      this.poll()
      return this.ended
    })
  }

  async hello(kind: number = role.control): Promise<void> {
    this.send('hello', 1, { version: protocolVersion, role: kind, image: kernel.image() })
    await this.answer(1)
    this.received.length = 0
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.ended = true
    kernel.close(this.socket)
  }
}
