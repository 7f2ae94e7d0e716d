/** A client that speaks the wire protocol by hand, for tests of what the service makes of it. */
import { kernel } from '../../src/kernel/index.js'
import { decode, encodeOwn, type Message, type MessageInput } from '../../src/wire/codec.js'
import { type MessageName, maxMessageBytes, protocolVersion, role } from '../../src/wire/schema.js'
import { until } from './until.js'

const meta = new Int32Array(3 + 16)

export class RawClient {
  readonly socket: number
  /** The service closed the connection. */
  ended = false
  readonly received: Message[] = []

  constructor(socketPath: string) {
    this.socket = kernel.connect(socketPath)
  }

  /** Sends bytes as they are; false if the socket is full. EPIPE and the like count as the end. */
  sendBytes(bytes: Uint8Array, descriptors: number[] = []): boolean {
    try {
      return kernel.send(this.socket, bytes, bytes.length, descriptors)
    } catch {
      this.ended = true
      return true
    }
  }

  send<N extends MessageName>(name: N, request: number, input: MessageInput<N>, descriptors: number[] = []): boolean {
    return this.sendBytes(encodeOwn(name, request, input), descriptors)
  }

  /** Takes what is there without waiting. */
  poll(): void {
    const buffer = new Uint8Array(maxMessageBytes)
    while (!this.ended) {
      let length: number
      try {
        length = kernel.receive(this.socket, buffer, meta)
      } catch {
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

  async whenEnded(): Promise<void> {
    await until(() => {
      this.poll()
      return this.ended
    })
  }

  async hello(): Promise<void> {
    this.send('hello', 1, { version: protocolVersion, role: role.control })
    await this.answer(1)
    this.received.length = 0
  }

  close(): void {
    kernel.close(this.socket)
  }
}
