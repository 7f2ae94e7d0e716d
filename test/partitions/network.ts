/** A network of its own for the partitions of a test: a namespace for each, joined by veth and a bridge. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { formatAddress } from '../../src/xpc/directory.js'
import type { Site } from './world.js'

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'pipe', 'pipe'] })
}

const relayProcess = fileURLToPath(new URL('./relay-process.js', import.meta.url))

let networks = 0

/** Slows down what a site sends, if the kernel can. */
function hasNetem({ within: [command = '', ...args] }: Site): boolean {
  const netem = 'tc qdisc add dev out root netem delay 50ms loss 1%'.split(' ')
  return spawnSync(command, [...args, ...netem], { stdio: 'ignore' }).status === 0
}

/** What nft is told so that one packet of 100 that comes from a device is lost. */
function lossy(device: string): string {
  const rules = [`type filter hook ingress device ${device} priority 0`, 'numgen random mod 100 < 1 counter drop']
  return `table netdev ${device} {\nchain lossy {\n${rules.join('\n')}\n}\n}`
}

/** Why packets cannot be lost here; undefined if they can. */
export function whyNotLossy(): string | undefined {
  const { status, error } = spawnSync('nft', ['--version'], { stdio: 'ignore' })
  return status === 0 ? undefined : `the command nft cannot be run: ${error?.message ?? `it ends with ${status}`}`
}

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

  /**
   * What goes to and from the first site takes 50 ms, and of what anybody sends one packet of 100 is
   * lost: by netem, or where the kernel has none, by nftables and a relay that is in between. The sites
   * that partitions are to be at then.
   */
  async slowDown(t: TestContext): Promise<readonly Site[]> {
    const [home, ...others] = this.sites as [Site, ...Site[]]
    if (hasNetem(home)) return this.sites
    const reach = { host: '10.77.0.100', port: 7_000 }
    ip('-n', this.#middle, 'address', 'add', `${reach.host}/24`, 'dev', 'bridge')
    const within = ['ip', 'netns', 'exec', this.#middle]
    const devices = this.sites.map((_, index) => `to${index}`)
    for (const device of devices) execFileSync(within[0] as string, [...within.slice(1), 'nft', lossy(device)])
    const args = [relayProcess, formatAddress(reach), formatAddress(home.address), '50']
    const child = spawn(within[0] as string, [...within.slice(1), process.execPath, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const exited = once(child, 'exit')
    t.after(async () => {
      child.kill('SIGKILL')
      await exited
    })
    await once(child.stdout, 'data')
    return [{ ...home, reach }, ...others]
  }

  /** How many packets were lost after `slowDown`. */
  packetsLost(): number {
    const run = (within: readonly string[], command: string) =>
      execFileSync(within[0] as string, [...within.slice(1), ...command.split(' ')], { encoding: 'utf8' })
    const [home] = this.sites as [Site]
    const lost = [
      ...run(['ip', 'netns', 'exec', this.#middle], 'nft list ruleset').matchAll(/counter packets (\d+)/g),
      ...run(home.within, 'tc -s qdisc show dev out').matchAll(/dropped (\d+)/g),
    ]
    return lost.reduce((sum, [, packets]) => sum + Number(packets), 0)
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
