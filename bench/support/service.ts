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

export interface BenchService {
  readonly runtimeDir: string
  readonly pid: number
}

export function temporaryDirectory(scope: Scope): string {
  const directory = mkdtempSync(join(tmpdir(), 'xpmem-bench-'))
  scope.defer(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Starts `xpmem serve` in a directory of its own and waits until it is ready. */
export async function startService(scope: Scope): Promise<BenchService> {
  const runtimeDir = temporaryDirectory(scope)
  const args = [cli, 'serve', '--runtime-dir', runtimeDir, '--partition', 'default', '--idle-exit', idleExit]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  scope.defer(async () => {
    child.kill('SIGTERM')
    await exited
  })
  await Promise.race([
    once(child.stdout, 'data'),
    exited.then(([code]) => Promise.reject(new Error(`xpmem serve ended with ${code}`))),
  ])
  return { runtimeDir, pid: child.pid as number }
}

/** This process's connection to it. */
export async function openPartition(service: BenchService, scope: Scope): Promise<Partition> {
  const { runtimeDir } = service
  const partition = await Partition.open({ runtimeDir, partition: 'default', autoStart: false })
  scope.defer(() => partition.close())
  return partition
}
