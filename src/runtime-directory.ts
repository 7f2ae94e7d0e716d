import { lstatSync, mkdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { env, geteuid } from 'node:process'
import { asXpmemError, XpmemError } from './errors.js'

export const defaultPartition = 'default'

/** Bytes of a Unix socket's path at the most, without the closing zero (unix(7): sun_path is 108). */
const maxSocketPathBytes = 107

/** Where a partition's files lie. */
export interface RuntimePaths {
  readonly directory: string
  readonly partition: string
  readonly socket: string
  readonly lock: string
  readonly key: string
  readonly incarnation: string
  /** The directory is this user's default, not one that was named. */
  readonly isDefault: boolean
}

export interface RuntimeOptions {
  /** Overrides $XPMEM_RUNTIME_DIR and the defaults. */
  readonly runtimeDir?: string | undefined
  /** Overrides $XPMEM_PARTITION; 'default' otherwise. */
  readonly partition?: string | undefined
}

const uid = () => geteuid?.() ?? 0

function chosenDirectory(option: string | undefined): string | undefined {
  const explicit = option ?? env.XPMEM_RUNTIME_DIR
  return explicit ? resolve(explicit) : undefined
}

function defaultDirectory(): string {
  if (uid() === 0) return '/run/xpmem'
  if (env.XDG_RUNTIME_DIR) return join(env.XDG_RUNTIME_DIR, 'xpmem')
  return `/tmp/xpmem-${uid()}`
}

/** The paths of a partition. EINVAL for a name that cannot be one, ENAMETOOLONG for a path no socket can have. */
export function runtimePaths(options: RuntimeOptions, call: string): RuntimePaths {
  const partition = options.partition ?? (env.XPMEM_PARTITION || defaultPartition)
  if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/.test(partition)) {
    throw new XpmemError(
      'EINVAL',
      call,
      `'${partition}' cannot name a partition: use up to 64 letters, digits, '.', '_' and '-', not beginning with '.'`,
    )
  }
  const chosen = chosenDirectory(options.runtimeDir)
  const directory = chosen ?? defaultDirectory()
  const path = (suffix: string) => join(directory, `${partition}.${suffix}`)
  const paths = {
    directory,
    partition,
    socket: path('sock'),
    lock: path('lock'),
    key: path('key'),
    incarnation: path('incarnation'),
    isDefault: chosen === undefined,
  }
  if (Buffer.byteLength(paths.socket) > maxSocketPathBytes) {
    throw new XpmemError(
      'ENAMETOOLONG',
      call,
      `${paths.socket} is longer than the ${maxSocketPathBytes} bytes a socket's path may have: choose a shorter runtime directory`,
    )
  }
  return paths
}

/** mkdir with the parents that are missing. Node's `recursive` never returns under /proc, which refuses with ENOENT. */
function makeDirectory(path: string, mode: number): void {
  if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) return
  const parent = dirname(path)
  if (parent !== path) makeDirectory(parent, mode)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    // Two services may be started at once.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

/**
 * Creates the directory if it is missing: 0755 for root's default, which every user of the machine
 * may reach, else 0700. EACCES as `checkRuntimeDirectory`.
 */
export function ensureRuntimeDirectory(paths: RuntimePaths, call: string): void {
  const shared = paths.directory === '/run/xpmem'
  try {
    makeDirectory(paths.directory, shared ? 0o755 : 0o700)
  } catch (error) {
    throw new XpmemError(asXpmemError(error, call).code, call, (error as Error).message, { cause: error })
  }
  checkRuntimeDirectory(paths, call)
}

/**
 * EACCES if the directory could hold another user's service that passes for this one: it belongs to
 * neither this user nor root, or others can write in it. Nothing happens where there is none.
 */
export function checkRuntimeDirectory(paths: RuntimePaths, call: string): void {
  const status = lstatSync(paths.directory, { throwIfNoEntry: false })
  if (status === undefined) return
  const refuse = (why: string): never => {
    throw new XpmemError('EACCES', call, `${paths.directory} ${why}: remove it, or set XPMEM_RUNTIME_DIR`)
  }
  if (!status.isDirectory()) refuse('is not a directory')
  if (status.uid !== uid() && status.uid !== 0) refuse(`belongs to uid ${status.uid}`)
  if ((status.mode & 0o022) !== 0) refuse('can be written by others')
}
