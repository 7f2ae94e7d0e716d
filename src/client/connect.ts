import { setTimeout as sleep } from 'node:timers/promises'
import { asXpmemError, XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import { checkRuntimeDirectory, type RuntimePaths } from '../runtime-directory.js'
import { startService } from './start-service.js'

const firstRetryMs = 5
const maxRetryMs = 250

/** How long a service may take until it accepts clients. */
const startTimeoutMs = 10_000

/** What connect(2) says where no service is, or none that can take one more client now. */
const transient = new Set(['ENOENT', 'ECONNREFUSED', 'EAGAIN'])

/** A connected socket, or undefined if there is no service now. EACCES and the like are thrown. */
export function tryConnect(paths: RuntimePaths): number | undefined {
  // Who names a directory knows whose it is; the default may be anybody's who was there first.
  if (paths.isDefault) checkRuntimeDirectory(paths, 'open')
  try {
    return kernel.connect(paths.socket)
  } catch (thrown) {
    const error = asXpmemError(thrown, 'open')
    if (transient.has(error.code)) return undefined
    throw new XpmemError(error.code, 'open', `cannot connect to ${paths.socket}`, { cause: thrown })
  }
}

/**
 * A connected socket, starting the service if there is none and `autoStart` says so. `ref`: whether
 * waiting for it keeps the process alive.
 */
export async function connectOrStart(paths: RuntimePaths, autoStart: boolean, ref: boolean): Promise<number> {
  const socket = tryConnect(paths)
  if (socket !== undefined) return socket
  if (!autoStart) {
    throw new XpmemError(
      'ECONNREFUSED',
      'open',
      `no service listens on ${paths.socket}: start one with 'xpmem serve --partition ${paths.partition} --runtime-dir ${paths.directory}'`,
    )
  }
  return startAndConnect(paths, ref)
}

async function startAndConnect(paths: RuntimePaths, ref: boolean): Promise<number> {
  let conclude = (_served: boolean) => {}
  const until = new Promise<boolean>((resolve) => {
    conclude = resolve
  })
  let complaint: string | undefined
  const started = startService(paths, until).then((text) => {
    complaint = text
  })
  try {
    const deadline = performance.now() + startTimeoutMs
    for (let waitMs = firstRetryMs; performance.now() < deadline; waitMs = Math.min(waitMs * 2, maxRetryMs)) {
      const socket = tryConnect(paths)
      if (socket !== undefined) {
        conclude(true)
        return socket
      }
      if (complaint !== undefined)
        throw new XpmemError('ECONNREFUSED', 'open', `the service did not start: ${complaint}`)
      await sleep(waitMs, undefined, { ref })
    }
    throw new XpmemError(
      'ETIMEDOUT',
      'open',
      `the service did not listen on ${paths.socket} within ${startTimeoutMs} ms`,
    )
  } finally {
    conclude(false)
    await started
  }
}
