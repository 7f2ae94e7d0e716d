/** Descriptors of every kind, right and wrong, to send along with messages. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { constants, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { kernel } from '../../src/kernel/index.js'
import type { Hostile } from './scene.js'

export interface Memfd {
  readonly address: bigint
  readonly readwrite: number
  readonly readonly: number
}

function closing(hostile: Hostile, descriptor: number): number {
  hostile.after(() => kernel.close(descriptor))
  return descriptor
}

/** A sealed memfd as a client makes it. */
export function memfd(hostile: Hostile, length: number): Memfd {
  const region = kernel.allocate(length, false)
  const address = kernel.addressOf(region)
  const [readwrite, readonly] = kernel.backingOf(address, length)?.descriptors ?? [-1, -1]
  hostile.after(() => region.byteLength)
  return { address, readwrite: closing(hostile, readwrite), readonly: closing(hostile, readonly) }
}

function open(hostile: Hostile, path: string, flags: number): number {
  return closing(hostile, openSync(path, flags, 0o600))
}

function scratchFile(hostile: Hostile, make: (path: string) => void): (flags: number) => number {
  const directory = mkdtempSync(join(tmpdir(), 'h-'))
  hostile.after(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'f')
  make(path)
  return (flags) => open(hostile, path, flags)
}

/** The ends of a pipe: opened for both, and for reading. */
export function pipe(hostile: Hostile): [number, number] {
  const reopen = scratchFile(hostile, (path) => spawnSync('mkfifo', [path]))
  return [reopen(constants.O_RDWR), reopen(constants.O_RDONLY | constants.O_NONBLOCK)]
}

/** A regular file on disk of two pages, writable and read-only. */
export function regularFile(hostile: Hostile): [number, number] {
  const reopen = scratchFile(hostile, (path) => spawnSync('truncate', ['-s', '8192', path]))
  return [reopen(constants.O_RDWR), reopen(constants.O_RDONLY)]
}

export function devNull(hostile: Hostile): [number, number] {
  return [open(hostile, '/dev/null', constants.O_RDWR), open(hostile, '/dev/null', constants.O_RDONLY)]
}

/** fcntl(2)'s F_SEAL_SHRINK and F_SEAL_GROW. */
export const sealShrink = 2
export const sealGrow = 4

/** A memfd of two pages with these seals alone, writable and read-only. */
export async function memfdWithSeals(hostile: Hostile, seals: number): Promise<[number, number]> {
  const script = [
    'import fcntl, os, sys',
    "f = os.memfd_create('odd', os.MFD_ALLOW_SEALING)",
    'os.ftruncate(f, 8192)',
    `fcntl.fcntl(f, fcntl.F_ADD_SEALS, ${seals})`,
    'print(f"/proc/{os.getpid()}/fd/{f}", flush=True)',
    'sys.stdin.read()',
  ]
  const holder = spawn('python3', ['-c', script.join('\n')], { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = once(holder, 'exit')
  holder.stdout.setEncoding('utf8')
  const [path] = (await once(holder.stdout, 'data')) as [string]
  const pair: [number, number] = [
    open(hostile, path.trim(), constants.O_RDWR),
    open(hostile, path.trim(), constants.O_RDONLY),
  ]
  holder.stdin.end()
  await exited
  return pair
}
