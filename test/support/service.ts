import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

export const cliPath = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

/** A runtime directory that goes when the test ends. */
export function runtimeDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'r-'))
  t.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export interface TestService {
  readonly runtimeDir: string
  readonly partition: string
  readonly socket: string
  readonly child: ChildProcess
  readonly pid: number
  /** Ends it with a signal and waits for its end. */
  end(signal: NodeJS.Signals): Promise<void>
}

/** Starts `xpmem serve`, by the command `within` if there is one, and waits for its ready line; it is ended with the test. */
export async function startService(
  t: TestContext,
  options: { runtimeDir?: string; partition?: string; args?: string[]; within?: readonly string[] } = {},
): Promise<TestService> {
  const runtimeDir = options.runtimeDir ?? mkdtempSync(join(tmpdir(), 'r-'))
  const partition = options.partition ?? 'default'
  const args = [cliPath, 'serve', '--runtime-dir', runtimeDir, '--partition', partition, ...(options.args ?? [])]
  const [command, ...words] = [...(options.within ?? []), process.execPath, ...args]
  const child = spawn(command as string, words, { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGCONT')
    child.kill('SIGTERM')
    await exited
    if (options.runtimeDir === undefined) rmSync(runtimeDir, { recursive: true, force: true })
  })
  child.stdout.setEncoding('utf8')
  const [line] = (await Promise.race([
    once(child.stdout, 'data'),
    exited.then(([code]) => Promise.reject(new Error(`xpmem serve ended with ${code}`))),
  ])) as [string]
  if (!line.startsWith('ready')) throw new Error(`xpmem serve said ${line}`)
  return {
    runtimeDir,
    partition,
    socket: join(runtimeDir, `${partition}.sock`),
    child,
    pid: child.pid as number,
    async end(signal) {
      child.kill(signal)
      await exited
    },
  }
}
