import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Scope } from './scope.js'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const sources = `${root}bench/limits`
const programs = `${root}build/bench-limits`

/** Builds the programs of bench/limits. Throws with what to do where that is not possible. */
export function buildLimits(): void {
  const { status, error, stderr } = spawnSync('make', ['-s', '-C', sources], { encoding: 'utf8' })
  if (error !== undefined) {
    throw new Error(
      `bench/limits cannot be built: ${error.message}; it needs make and a C compiler (Debian: apt-get install make gcc libc6-dev)`,
    )
  }
  if (status !== 0) throw new Error(`bench/limits cannot be built:\n${stderr}`)
}

/** A running program of bench/limits: see rounds.h. */
export class LimitProgram {
  readonly #name: string
  readonly #child: ChildProcessByStdio<Writable, Readable, null>
  readonly #answers: AsyncIterator<string>

  constructor(name: string, scope: Scope, env: NodeJS.ProcessEnv = {}) {
    this.#name = name
    this.#child = spawn(`${programs}/${name}`, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    })
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
    scope.defer(() => this.#child.kill('SIGKILL'))
  }

  /** The processes that it has started. */
  get children(): number[] {
    const { pid } = this.#child
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number)
  }

  /** Has it carry out a command; the seconds it took. */
  async seconds(word: string, ...numbers: (number | string)[]): Promise<number> {
    return Number(await this.answer(word, ...numbers)) / 1e9
  }

  /** Has it carry out a command that answers several times; all of them, in seconds. */
  async allSeconds(word: string, ...numbers: (number | string)[]): Promise<number[]> {
    const answer = await this.answer(word, ...numbers)
    return answer.split(' ').map((nanoseconds) => Number(nanoseconds) / 1e9)
  }

  /** Has it carry out a command; what it answered. */
  async answer(word: string, ...numbers: (number | string)[]): Promise<string> {
    this.#child.stdin.write(`${[word, ...numbers].join(' ')}\n`)
    const { done, value } = await this.#answers.next()
    if (done) throw new Error(`bench/limits/${this.#name}.c: '${word}' failed`)
    return value
  }
}
