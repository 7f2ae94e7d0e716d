import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** What a player is told, and what it answers. */
export interface Line {
  readonly say: string
  readonly [more: string]: unknown
}

export const ms = (time: unknown) => `${(time as number).toFixed(1)} ms`
export const print = (text: string) => process.stdout.write(`${text}\n`)

export function require(condition: boolean, otherwise: string): void {
  if (!condition) throw new Error(`the demo failed: ${otherwise}`)
}

const pathOf = (file: string) => fileURLToPath(new URL(file, import.meta.url))

/** A partition of the demo's. */
export interface Place {
  readonly runtimeDir: string
  readonly partition: string
}

/** One of the demo's processes. */
export class Player {
  readonly child: ChildProcess
  readonly exited: Promise<unknown[]>
  readonly #heard: Line[] = []
  readonly #wanted = new Map<string, (line: Line) => void>()

  constructor(file: string, { runtimeDir, partition }: Place) {
    const env = { ...process.env, XPMEM_RUNTIME_DIR: runtimeDir, XPMEM_PARTITION: partition }
    this.child = fork(pathOf(file), { env })
    this.exited = once(this.child, 'exit')
    this.child.on('message', (line: Line) => {
      const wanted = this.#wanted.get(line.say)
      this.#wanted.delete(line.say)
      if (wanted === undefined) this.#heard.push(line)
      else wanted(line)
    })
  }

  tell(say: string): void {
    this.child.send({ say })
  }

  /** The next line of that kind; rejects if the process ends before it. */
  hear<T extends Line>(say: string): Promise<T> {
    const index = this.#heard.findIndex((line) => line.say === say)
    if (index >= 0) return Promise.resolve(this.#heard.splice(index, 1)[0] as T)
    const gone = this.exited.then(([code, signal]) =>
      Promise.reject(new Error(`${say}: a process ended: ${code ?? signal}`)),
    )
    return Promise.race([new Promise<T>((resolve) => this.#wanted.set(say, resolve as (line: Line) => void)), gone])
  }

  async ask<T extends Line>(say: string): Promise<T> {
    const answer = this.hear<T>(say)
    this.tell(say)
    return answer
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.child.kill(signal)
    await this.exited
  }
}

/** Where the demo is played. Everything that is started there ends with it. */
export interface Stage {
  cast(file: string, partition: string): Player
  serve(partition: string, ...more: string[]): Promise<OwnService>
}

export interface OwnService {
  readonly child: ChildProcess
  /** Where it listens for other partitions, HOST:PORT; '' if it does not. */
  readonly listen: string
}

/** A service of the demo's own, in its own directory. */
export async function startOwnService({ partition, runtimeDir }: Place, more: string[] = []): Promise<OwnService> {
  const args = [pathOf('../main.js'), 'serve', '--partition', partition, '--runtime-dir', runtimeDir, ...more]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })
  const [ready] = (await Promise.race([
    once(lines, 'line'),
    once(child, 'exit').then(([code]) => Promise.reject(new Error(`the service ended with ${code}`))),
  ])) as [string]
  return { child, listen: / listen=(\S+)/.exec(ready)?.[1] ?? '' }
}

export async function endService({ child }: OwnService): Promise<void> {
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  await ended
}
