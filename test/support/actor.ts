/**
 * A process that a test drives over IPC: it opens a partition and makes, gets, attaches as it is
 * told. `Actor` is the test's end, `actor-main.ts` the process.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync } from 'node:fs'
import { dirname } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

const main = fileURLToPath(new URL('./actor-main.js', import.meta.url))

export interface ActorError extends Error {
  readonly code: string
}

interface Reply {
  readonly id: number
  readonly value?: unknown
  readonly error?: { message: string; code: string }
}

/** Handles are what the actor calls its segments, permits and attachments: small numbers. */
export type Handle = number

export class Actor {
  readonly language = 'TypeScript'
  readonly child: ChildProcess
  readonly exited: Promise<unknown>
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  /** What the actor told of by itself: 'revoked:HANDLE:WHY', 'disconnected', 'reconnected'. */
  readonly events: string[] = []
  #lastId = 0

  constructor(child: ChildProcess) {
    this.child = child
    this.exited = once(child, 'exit')
    child.on('message', (message: Reply | { event: string }) => {
      if ('event' in message) this.events.push(message.event)
      else this.#answer(message)
    })
    child.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the actor ended: ${code ?? signal}`))
      this.#waiting.clear()
    })
  }

  get pid(): number {
    return this.child.pid as number
  }

  #answer({ id, value, error }: Reply): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error === undefined) waiting?.resolve(value)
    else waiting?.reject(Object.assign(new Error(error.message), { code: error.code }))
  }

  /** Calls a function of actor-main.ts. */
  call<T = unknown>(name: string, ...args: unknown[]): Promise<T> {
    this.#lastId += 1
    const id = this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      this.child.send({ id, name, args }, (error) => {
        if (error !== null && this.#waiting.delete(id)) reject(error)
      })
    })
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name)
  }

  /** Ends it with a signal and waits for its end. */
  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.child.kill(signal)
    await this.exited
  }
}

export interface ActorOptions {
  readonly runtimeDir: string
  readonly partition?: string
  readonly autoStart?: boolean
  /** As another user; root only. The runtime directory is opened to everybody for it. */
  readonly uid?: number
  readonly gid?: number
  readonly groups?: number[]
}

/** Lets other users reach what lies in a test's directory. */
export function openToEverybody(directory: string): void {
  chmodSync(directory, 0o755)
  chmodSync(dirname(directory), 0o755)
}

/** Starts an actor and has it open the partition; it is killed with the test. */
export async function startActor(t: TestContext, options: ActorOptions): Promise<Actor> {
  const { runtimeDir, partition, autoStart = false, uid, gid, groups } = options
  const child = fork(main, { execArgv: ['--expose-gc'], serialization: 'advanced' })
  const actor = new Actor(child)
  t.after(async () => {
    child.kill('SIGKILL')
    await actor.exited
  })
  if (uid !== undefined) {
    openToEverybody(runtimeDir)
    await actor.call('become', uid, gid, groups)
  }
  await actor.call('open', { runtimeDir, autoStart, ...(partition === undefined ? {} : { partition }) })
  return actor
}
