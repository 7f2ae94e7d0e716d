/** Running the command line as a person would, and finding the services it starts. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { cliPath } from '../support/service.js'
import { until } from '../support/until.js'

export interface Outcome {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: Buffer
  readonly stderr: string
}

export interface RunOptions {
  readonly env?: Record<string, string>
  readonly cwd?: string
}

function spawnOptions({ env, cwd }: RunOptions): SpawnOptions {
  return { env: { ...process.env, ...env }, ...(cwd === undefined ? {} : { cwd }) }
}

/** Runs a program to its end. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const child = spawn(command, args, { ...spawnOptions(options), stdio: ['ignore', 'pipe', 'pipe'] })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk))
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  return { code, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() }
}

/** Runs `xpmem` with those arguments to its end. */
export function xpmem(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return run(process.execPath, [cliPath, ...args], options)
}

export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** An `xpmem` that goes on until it is told to stop. */
export interface Running {
  readonly child: ChildProcess
  /** Its first line on stdout. */
  readonly firstLine: string
  /** Everything it has said on stdout so far. */
  readonly said: () => string
  readonly exited: Promise<Ending>
  end(signal: NodeJS.Signals): Promise<Ending>
}

/** Starts `xpmem` and waits for its first line. */
async function start(args: readonly string[], options: RunOptions): Promise<Running> {
  const child = spawn(process.execPath, [cliPath, ...args], {
    ...spawnOptions(options),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }))
  let said = ''
  let over = false
  child.stdout?.setEncoding('utf8')
  child.stdout?.on('data', (text: string) => {
    said += text
  })
  child.stdout?.once('end', () => {
    over = true
  })
  await until(() => said.includes('\n') || over)
  if (!said.includes('\n')) throw new Error(`xpmem ${args.join(' ')} ended without a line`)
  return {
    child,
    firstLine: said.slice(0, said.indexOf('\n')),
    said: () => said,
    exited,
    end(signal) {
      child.kill(signal)
      return exited
    },
  }
}

export interface Stage {
  /** A directory of the test's own. */
  readonly runtimeDir: string
  /** Starts `xpmem` and waits for its first line. */
  start(args: readonly string[], options?: RunOptions): Promise<Running>
}

/**
 * A runtime directory and what is started in it. At the test's end that goes in the reverse order,
 * so that no client finds its service gone and starts another; then the services that clients
 * started, and the directory.
 */
export function stage(t: TestContext): Stage {
  const runtimeDir = mkdtempSync(join(tmpdir(), 'cli-'))
  const running: Running[] = []
  t.after(async () => {
    for (const one of running.reverse()) await one.end('SIGTERM')
    await endServices(runtimeDir)
    rmSync(runtimeDir, { recursive: true })
  })
  return {
    runtimeDir,
    async start(args, options = {}) {
      const started = await start(args, options)
      running.push(started)
      return started
    },
  }
}

function wordsOf(pid: string): string[] {
  try {
    if (/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))) return []
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return []
  }
}

/** The processes that serve a runtime directory, or one in it. */
export function servicesIn(directory: string): { pid: number; words: string[] }[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name), words: wordsOf(name) }))
    .filter(({ words }) => words.includes('serve') && words.some((word) => word.startsWith(directory)))
}

/** Ends every service of a directory, however it was started, and waits for their end. */
export async function endServices(directory: string): Promise<void> {
  for (const { pid } of servicesIn(directory)) {
    try {
      process.kill(pid, 'SIGTERM')
    } catch {
      // It has ended meanwhile.
    }
  }
  await until(() => servicesIn(directory).length === 0)
}
