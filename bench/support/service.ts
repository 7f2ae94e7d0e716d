import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Partition } from '../../src/index.js'
import type { Scope } from './scope.js'

const cli = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

/** Seconds after which a service that lost its benchmark leaves. */
const idleExit = '60'

/** Where a service is found. */
export interface Served {
  readonly runtimeDir: string
  readonly partition: string
}

export interface BenchService extends Served {
  readonly pid: number
  /** Where it listens for other partitions, HOST:PORT; '' if it does not. */
  readonly listen: string
}

export function temporaryDirectory(scope: Scope): string {
  const directory = mkdtempSync(join(tmpdir(), 'xpmem-bench-'))
  scope.defer(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Starts `xpmem serve` in a directory of its own and waits until it is ready. */
export async function startService(scope: Scope, partition = 'default', more: string[] = []): Promise<BenchService> {
  const runtimeDir = temporaryDirectory(scope)
  const args = [cli, 'serve', '--runtime-dir', runtimeDir, '--partition', partition, '--idle-exit', idleExit, ...more]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  scope.defer(async () => {
    child.kill('SIGTERM')
    await exited
  })
  const [ready] = (await Promise.race([
    once(child.stdout, 'data'),
    exited.then(([code]) => Promise.reject(new Error(`xpmem serve ended with ${code}`))),
  ])) as [Buffer]
  const listen = / listen=(\S+)/.exec(ready.toString())?.[1] ?? ''
  return { runtimeDir, partition, pid: child.pid as number, listen }
}

/** Two services that are joined over loopback; `more`: options of both. */
export async function startPartitions(
  scope: Scope,
  more: readonly string[] = [],
): Promise<{ home: BenchService; far: BenchService }> {
  const home = await startService(scope, 'home', [
    ...more,
    '--id',
    '1',
    '--listen',
    '127.0.0.1:0',
    '--peer',
    'far',
    '--trust',
    'far',
  ])
  const far = await startService(scope, 'far', [...more, '--id', '2', '--peer', `home=${home.listen}`])
  return { home, far }
}

/** This process's connection to it. */
export async function openPartition(service: Served, scope: Scope): Promise<Partition> {
  const { runtimeDir, partition } = service
  const opened = await Partition.open({ runtimeDir, partition, autoStart: false })
  scope.defer(() => opened.close())
  return opened
}
