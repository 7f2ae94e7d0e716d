/** A network of its own for the partitions of a test: a namespace for each, joined by veth and a bridge. */
import { execFileSync, spawnSync } from 'node:child_process'
import type { TestContext } from 'node:test'
import type { Site } from './world.js'

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] })
}

let networks = 0

/** Why there are no network namespaces here; undefined if there are. */
export function whyNoNamespaces(): string | undefined {
  const name = `xpt${process.pid}`
  const { status, error, stderr } = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' })
  if (error !== undefined) return `the command ip cannot be run: ${error.message}`
  if (status !== 0) return stderr.trim()
  try {
    ip('-n', name, 'link', 'add', 'one', 'type', 'veth', 'peer', 'name', 'two')
    return undefined
  } catch (failed) {
    return String((failed as { stderr?: unknown }).stderr).trim()
  } finally {
    ip('netns', 'del', name)
  }
}

export class Network {
  readonly sites: readonly Site[]
  readonly #middle: string

  private constructor(sites: readonly Site[], middle: string) {
    this.sites = sites
    this.#middle = middle
  }

  static create(t: TestContext, count: number): Network {
    networks += 1
    const prefix = `xpt${process.pid}n${networks}`
    const middle = `${prefix}m`
    const spaces = Array.from({ length: count }, (_, index) => `${prefix}s${index}`)
    t.after(() => {
      for (const name of [...spaces, middle]) spawnSync('ip', ['netns', 'del', name])
    })
    for (const name of [middle, ...spaces]) ip('netns', 'add', name)
    ip('-n', middle, 'link', 'add', 'bridge', 'type', 'bridge')
    ip('-n', middle, 'link', 'set', 'bridge', 'up')
    const sites = spaces.map((name, index) => {
      const host = `10.77.0.${index + 1}`
      ip('-n', middle, 'link', 'add', `to${index}`, 'type', 'veth', 'peer', 'name', 'out', 'netns', name)
      ip('-n', middle, 'link', 'set', `to${index}`, 'master', 'bridge', 'up')
      ip('-n', name, 'address', 'add', `${host}/24`, 'dev', 'out')
      for (const device of ['lo', 'out']) ip('-n', name, 'link', 'set', device, 'up')
      return { address: { host, port: 7_000 }, within: ['ip', 'netns', 'exec', name] }
    })
    return new Network(sites, middle)
  }

  /** Everything that a site sends takes 50 ms, and one packet of 100 is lost. Why not, if that cannot be. */
  slowDown(site: number): string | undefined {
    const { within } = this.sites[site] as Site
    const [command = '', ...args] = [
      ...within,
      'tc',
      'qdisc',
      'add',
      'dev',
      'out',
      'root',
      'netem',
      'delay',
      '50ms',
      'loss',
      '1%',
    ]
    const { status, error, stderr } = spawnSync(command, args, { encoding: 'utf8' })
    return status === 0 ? undefined : (error?.message ?? stderr.trim())
  }

  /** Cuts a site off from the others, or joins it again. */
  set(site: number, state: 'up' | 'down'): void {
    ip('-n', this.#middle, 'link', 'set', `to${site}`, state)
  }
}

/** Where the partitions of a test may be, and how that is called. */
export function placements(): Record<string, (t: TestContext, count: number) => readonly Site[] | undefined> {
  const why = whyNoNamespaces()
  if (why === undefined) return { 'in network namespaces': (t, count) => Network.create(t, count).sites }
  console.log(`NOT RUN in network namespaces, but over loopback: ${why}`)
  return { 'over loopback': () => undefined }
}
