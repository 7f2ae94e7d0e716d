/** A service that answers as a test tells it to, in the test's own process. */
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { kernel, metaLength, type Poll } from '../../src/kernel/index.js'
import { decode, encodeOwn, type Message, type MessageInput } from '../../src/wire/codec.js'
import { type MessageName, maxMessageBytes, role } from '../../src/wire/schema.js'
import { runtimeDirectory } from '../support/service.js'

/** What the service does with a message; true if it has dealt with it. */
export type Script = (message: Message, connection: FakeConnection) => boolean | undefined

const buffer = new Uint8Array(maxMessageBytes)
const meta = new Int32Array(metaLength)

export class FakeConnection {
  readonly #socket: number
  readonly #poll: Poll
  readonly #script: Script
  role = 0
  closed = false

  constructor(socket: number, script: Script) {
    this.#socket = socket
    this.#script = script
    this.#poll = kernel.poll(socket, () => this.#turn())
    this.#poll.start(1)
  }

  answer<N extends MessageName>(name: N, request: number, input: MessageInput<N>, descriptors: number[] = []): void {
    this.bytes(encodeOwn(name, request, input), descriptors)
  }

  bytes(bytes: Uint8Array, descriptors: number[] = []): void {
    try {
      if (!this.closed) kernel.send(this.#socket, bytes, bytes.length, descriptors)
    } catch {
      this.close()
    }
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.#poll.close()
    kernel.close(this.#socket)
  }

  #turn(): void {
    while (!this.closed) {
      const length = this.#receive()
      if (length < 0) return
      for (let index = 0; index < (meta[0] ?? 0); index += 1) kernel.close(meta[3 + index] as number)
      if (length === 0) return this.close()
      this.#take(decode(buffer, length))
    }
  }

  #receive(): number {
    try {
      return kernel.receive(this.#socket, buffer, meta)
    } catch {
      return 0
    }
  }

  #take(message: Message): void {
    if (message.name === 'hello') this.role = message.role
    if (this.#script(message, this) === true || message.name !== 'hello') return
    this.answer('welcome', message.request, { serviceStart: 1n, partition: 1, incarnation: 1, text: 'default' })
  }
}

export interface FakeService {
  readonly runtimeDir: string
  readonly connections: FakeConnection[]
  /** The connection of the client's agent that is there now. */
  agent(): FakeConnection | undefined
}

/** Listens in a directory of its own until the test ends. A hello that the script leaves alone is welcomed. */
export function startFakeService(t: TestContext, script: Script): FakeService {
  const runtimeDir = runtimeDirectory(t)
  const listener = kernel.listen(join(runtimeDir, 'default.sock'), 64)
  const connections: FakeConnection[] = []
  const poll = kernel.poll(listener, () => {
    for (let socket = kernel.accept(listener); socket >= 0; socket = kernel.accept(listener)) {
      connections.push(new FakeConnection(socket, script))
    }
  })
  poll.start(1)
  t.after(() => {
    poll.close()
    kernel.close(listener)
    for (const connection of connections) connection.close()
  })
  return {
    runtimeDir,
    connections,
    agent: () => connections.find((connection) => connection.role === role.agent && !connection.closed),
  }
}
