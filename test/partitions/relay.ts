/** A way between two services on one machine that takes its time, and that can be cut without a word. */

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import type { Address } from '../../src/xpc/directory.js'

export class Relay {
  readonly #sockets = new Set<Socket>()
  readonly #delayMs: number
  #isCut = false

  private constructor(delayMs: number) {
    this.#delayMs = delayMs
  }

  /** Whatever connects to `from` speaks with `to`, and each word takes `delayMs`. */
  static async start(
    t: TestContext,
    { from, to, delayMs }: { from: Address; to: Address; delayMs: number },
  ): Promise<Relay> {
    const relay = new Relay(delayMs)
    const server = createServer((near) => relay.#join(near, connect(to)))
    server.listen(from.port, from.host)
    await once(server, 'listening')
    t.after(() => {
      server.close()
      for (const socket of relay.#sockets) socket.destroy()
    })
    return relay
  }

  #join(near: Socket, far: Socket): void {
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('data', (chunk) => this.#later(() => other.write(chunk)))
      socket.on('close', () => {
        this.#sockets.delete(socket)
        this.#later(() => other.destroy())
      })
    }
  }

  /** Timers of the same time keep their order. */
  #later(work: () => void): void {
    if (this.#isCut) return
    setTimeout(() => {
      if (!this.#isCut) work()
    }, this.#delayMs)
  }

  /** From now on nothing arrives, and nobody is told. */
  cut(): void {
    this.#isCut = true
  }

  /** What was said meanwhile is lost: the connections end. */
  restore(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#isCut = false
  }
}
