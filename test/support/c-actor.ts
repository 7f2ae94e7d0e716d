/** A C process that a test drives: `CActor` is the test's end, test/conformance/c-actor the process. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type ActorOptions, openToEverybody } from './actor.js'
import { parseAnswer, requestLine } from './c-lines.js'
import { runtimeDirectory } from './service.js'
import { until } from './until.js'

/** With what the C actor and the library are compiled: XPMEM_TEST_SANITIZE, as -fsanitize= has it. */
export const sanitizers = (process.env.XPMEM_TEST_SANITIZE ?? '').split(',').filter((word) => word !== '')

const suffix = sanitizers.map((word) => `-${word}`).join('')
const program = fileURLToPath(new URL(`../../../build/c-actor${suffix}/c-actor`, import.meta.url))

/** ThreadSanitizer does not know the address layout of every kernel. */
const command = sanitizers.includes('thread') ? ['setarch', '--addr-no-randomize', program] : [program]

const sanitizerOptions = {
  ASAN_OPTIONS: 'halt_on_error=1:abort_on_error=0:detect_leaks=1',
  UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
  // A child of a process with threads goes on: the cases of fork are about it.
  TSAN_OPTIONS: 'halt_on_error=1:die_after_fork=0:second_deadlock_stack=1',
}

interface Waiting {
  resolve(value: unknown): void
  reject(error: Error): void
}

export class CActor {
  readonly language = 'C'
  readonly events: string[] = []
  /** What it has written to standard error. */
  complaints = () => ''
  /** Those that it forked. */
  readonly children: CActor[] = []
  ended = false
  readonly #waiting = new Map<string, Waiting>()
  readonly #output: Writable
  #unread = ''
  #lastId = 0

  constructor(
    readonly pid: number,
    input: Readable,
    output: Writable,
    readonly exited: Promise<unknown>,
  ) {
    this.#output = output
    input.setEncoding('utf8')
    input.on('data', (text: string) => this.#read(text))
    // A request to a process that has just ended; its end is what rejects the call.
    output.on('error', () => {})
    exited.then((how) => this.#end(how))
  }

  #end(how: unknown): void {
    this.ended = true
    const why = `the actor ended: ${how}\n${this.complaints()}`
    for (const { reject } of this.#waiting.values()) reject(new Error(why))
    this.#waiting.clear()
  }

  #read(text: string): void {
    const lines = (this.#unread + text).split('\n')
    this.#unread = lines.pop() as string
    for (const line of lines) this.#take(line)
  }

  #take(line: string): void {
    const [id = '', outcome = '', ...rest] = line.split(' ').filter((word) => word !== '')
    if (id === '!') {
      this.events.push([outcome, ...rest].join(' '))
      return
    }
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (outcome === 'ok') waiting?.resolve(parseAnswer(rest))
    else waiting?.reject(Object.assign(new Error(rest.slice(1).join(' ')), { code: rest[0] }))
  }

  /** Calls a function of the C actor; one of those that only wait has a thread of its own there. */
  call<T = unknown>(name: string, ...args: unknown[]): Promise<T> {
    this.#lastId += 1
    const id = this.#lastId
    return new Promise((resolve, reject) => {
      const line = requestLine(id, name, args)
      this.#waiting.set(`${id}`, { resolve: resolve as (value: unknown) => void, reject })
      this.#output.write(line)
    })
  }

  signal(name: NodeJS.Signals): void {
    if (!this.ended) process.kill(this.pid, name)
  }

  /** Ends it with a signal and waits for its end. */
  async end(name: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.signal(name)
    await this.exited
  }
}

export interface CActorOptions extends ActorOptions {
  /** `XPMEM_OWNER_EXIT=keep` and other variables of its environment. */
  readonly env?: Readonly<Record<string, string>>
}

function readErrors(child: ChildProcess): () => string {
  let said = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  return () => said
}

/** Starts one; it is killed with the test, which fails if a sanitizer found something in it. */
export async function startCActor(t: TestContext, options: CActorOptions): Promise<CActor> {
  const { runtimeDir, partition, autoStart = false, uid, gid, groups, env } = options
  const [file = '', ...args] = command
  const child = spawn(file, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: {
      ...process.env,
      ...sanitizerOptions,
      XPMEM_RUNTIME_DIR: runtimeDir,
      ...(partition === undefined ? {} : { XPMEM_PARTITION: partition }),
      ...(autoStart ? {} : { XPMEM_COMMAND: '/nonexistent/xpmem' }),
      ...env,
    },
  })
  const closed = once(child, 'close')
  const exited = once(child, 'exit').then(([code, signal]) => code ?? signal)
  const actor = new CActor(child.pid as number, child.stdout, child.stdin, exited)
  const { complaints } = Object.assign(actor, { complaints: readErrors(child) })
  t.after(async () => {
    for (const forked of actor.children) await forked.end()
    child.kill('SIGKILL')
    await closed
    if (/Sanitizer|runtime error/.test(complaints())) throw new Error(`a sanitizer complains:\n${complaints()}`)
  })
  await Promise.race([until(() => actor.events.includes('ready')), exited.then(() => failStart(complaints()))])
  if (uid !== undefined) {
    openToEverybody(runtimeDir)
    await actor.call('become', uid, gid, groups)
  }
  return actor
}

function failStart(complaints: string): never {
  throw new Error(`the C actor does not start: ${complaints}`)
}

/** Has an actor fork; the child is an actor, too, and is killed with the test. */
export async function forkCActor(t: TestContext, parent: CActor): Promise<CActor> {
  const path = join(runtimeDirectory(t), 'child')
  const server = createServer().listen(path)
  await once(server, 'listening')
  const connected = once(server, 'connection')
  const pid = await parent.call<number>('fork', path)
  const [socket] = await connected
  server.close()
  const exited = once(socket, 'close').then(() => 'its socket closed')
  const child = new CActor(pid, socket, socket, exited)
  parent.children.push(child)
  await until(() => child.events.includes('ready'))
  return child
}
