/** A C program that is linked to libxpmem, and the test's end of it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../../../', import.meta.url))

/** What `npm run build:libxpmem` fills as `make install` fills a prefix. */
export const builtPrefix = join(root, 'build/libxpmem')

export interface Library {
  /** Folder of xpmem.h. */
  readonly include: string
  /** Folder of libxpmem.so.0. */
  readonly lib: string
}

/** Whatever has an end. */
export interface Scope {
  after(end: () => void): void
}

/** Compiles program.c against a library; it is gone when the scope ends. */
export function compileProgram(scope: Scope, library: Library): string {
  const folder = mkdtempSync(join(tmpdir(), 'program-'))
  scope.after(() => rmSync(folder, { recursive: true }))
  const program = join(folder, 'program')
  const source = join(root, 'test/libxpmem/program.c')
  const options = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-I', library.include]
  const link = ['-L', library.lib, '-l:libxpmem.so.0', `-Wl,-rpath,${library.lib}`]
  execFileSync(process.env.CC ?? 'cc', [...options, '-o', program, source, ...link], { stdio: 'inherit' })
  return program
}

export class Program {
  readonly child: ChildProcess
  readonly #exited: Promise<unknown>
  readonly #waiting: { resolve(line: string): void; reject(error: Error): void }[] = []

  constructor(child: ChildProcess) {
    this.child = child
    this.#exited = once(child, 'exit')
    if (child.stdout === null) throw new Error('the program has no standard output')
    createInterface(child.stdout).on('line', (line) => this.#waiting.shift()?.resolve(line))
    child.once('exit', (code, signal) => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(`the program ended: ${code ?? signal}`))
    })
  }

  /** Tells it to do something; its answer. */
  ask(line: string): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.child.stdin?.write(`${line}\n`)
    })
  }

  /** Ends it as a program ends that has nothing more to do; its exit code. */
  async end(): Promise<number | null> {
    this.child.stdin?.end()
    await this.#exited
    return this.child.exitCode
  }
}

/**
 * Starts programs, which end with the test. What a test calls first ends first: before a runtime
 * directory and its service, or a program would start another.
 */
export function starter(t: TestContext): (program: string, env: Record<string, string>) => Program {
  const programs: Program[] = []
  t.after(async () => {
    for (const { child } of programs) child.kill('SIGCONT')
    await Promise.all(programs.map((one) => one.end()))
  })
  return (program, env) => {
    const child = spawn(program, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'inherit'] })
    const started = new Program(child)
    programs.push(started)
    return started
  }
}
