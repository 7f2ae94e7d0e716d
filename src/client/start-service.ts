import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { execPath } from 'node:process'
import { fileURLToPath } from 'node:url'
import { XpmemError } from '../errors.js'
import type { RuntimePaths } from '../runtime-directory.js'

/** How long a service that a client started stays without clients. */
const idleExitSeconds = 30

/** V8 settings that keep the service small: it allocates little and lives long. */
const nodeOptions = ['--max-semi-space-size=1', '--v8-pool-size=1']

/**
 * Starts the partition's service as a process of its own that outlives this one. Two at once are
 * harmless: the second finds the lock taken and ends. Resolves when the process has ended or
 * `until` resolves, whichever is first; to what it wrote on stderr if it failed. It is ended if
 * `until` resolves to false: it did not serve.
 */
export async function startService(paths: RuntimePaths, until: Promise<boolean>): Promise<string | undefined> {
  const command = fileURLToPath(new URL('../cli/main.js', import.meta.url))
  if (!existsSync(command)) throw new XpmemError('ENOENT', 'open', `${command} is missing: install xpmem again`)
  const serve = [
    'serve',
    '--partition',
    paths.partition,
    '--runtime-dir',
    paths.directory,
    '--idle-exit',
    `${idleExitSeconds}`,
  ]
  const child = spawn(execPath, [...nodeOptions, command, ...serve], {
    detached: true,
    cwd: '/',
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '' },
  })
  child.unref()
  const complaints: string[] = []
  child.stderr.setEncoding('utf8')
  child.stderr.on('data', (text: string) => complaints.push(text))
  const ended = new Promise<string | undefined>((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code) =>
      resolve(code === 0 || code === alreadyServed ? undefined : complaints.join('').trim()),
    )
  })
  const outcome = await Promise.race([ended, until.then((served) => void (served || child.kill('SIGKILL')))])
  child.stderr.destroy()
  return outcome
}

/** The exit code of `xpmem serve` where the partition has a service. */
export const alreadyServed = 3
