import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Call, Reply } from './calls.js'
import type { Scope } from './scope.js'

interface Waiting {
  resolve(value: unknown): void
  reject(error: Error): void
}

/** Another process of a benchmark: a program of bench/peers that does what it is told. */
export class Peer {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, Waiting>()
  #lastId = 0

  constructor(program: string, scope: Scope) {
    const path = fileURLToPath(new URL(`../peers/${program}.js`, import.meta.url))
    this.#child = fork(path, { execArgv: ['--expose-gc'], serialization: 'advanced' })
    const exited = once(this.#child, 'exit')
    this.#child.on('message', (reply: Reply) => this.#take(reply))
    this.#child.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`${program} ended: ${code ?? signal}`))
      this.#waiting.clear()
    })
    scope.defer(async () => {
      this.#child.kill('SIGKILL')
      await exited
    })
  }

  get pid(): number {
    return this.#child.pid as number
  }

  /** Calls a function of the program. */
  call<T>(name: string, ...args: unknown[]): Promise<T> {
    this.#lastId += 1
    const id = this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      this.#child.send({ id, name, args } satisfies Call)
    })
  }

  #take({ id, value, error }: Reply): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error === undefined) waiting?.resolve(value)
    else waiting?.reject(new Error(error))
  }
}
