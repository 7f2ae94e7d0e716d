/** Two partitions with a service each, and what tests ask them. */
import type { TestContext } from 'node:test'
import type { PartitionInfo } from '../../src/wire/partition-info.js'
import type { SegmentInfo } from '../../src/wire/segment-info.js'
import { type Address, formatAddress } from '../../src/xpc/directory.js'
import { type Actor, startActor } from '../support/actor.js'
import { startService, type TestService } from '../support/service.js'
import { until } from '../support/until.js'
import { ownAddress } from './raw-peer.js'

export interface Side {
  readonly service: TestService
  readonly address: Address
  /** A process that asks and makes. */
  readonly actor: Actor
}

export interface SideOptions {
  readonly name: string
  readonly id: number
  readonly peers: Readonly<Record<string, Address | undefined>>
  readonly address?: Address
  readonly args?: readonly string[]
  readonly runtimeDir?: string
  /** The command that starts the service somewhere else. */
  readonly within?: readonly string[]
}

export function serveArgs({ id, peers, args = [] }: SideOptions, address: Address): string[] {
  const peerArgs = Object.entries(peers).flatMap(([name, at]) => [
    '--peer',
    at === undefined ? name : `${name}=${formatAddress(at)}`,
  ])
  return ['--id', `${id}`, '--listen', formatAddress(address), ...peerArgs, ...args]
}

export async function startSide(t: TestContext, options: SideOptions): Promise<Side> {
  const address = options.address ?? ownAddress()
  const { runtimeDir, name: partition, within = [] } = options
  const args = serveArgs(options, address)
  const service = await startService(t, {
    partition,
    args,
    within,
    ...(runtimeDir === undefined ? {} : { runtimeDir }),
  })
  const actor = await startActor(t, { runtimeDir: service.runtimeDir, partition })
  return { service, address, actor }
}

export interface PairOptions {
  readonly homeArgs?: readonly string[]
  readonly farArgs?: readonly string[]
}

/** Partition `home`, number 1, and `far`, number 2, which connects to it. */
export async function startPair(t: TestContext, { homeArgs = [], farArgs = [] }: PairOptions = {}) {
  const home = await startSide(t, { name: 'home', id: 1, peers: { far: undefined }, args: homeArgs })
  const far = await startSide(t, { name: 'far', id: 2, peers: { home: home.address }, args: farArgs })
  await untilPartition(home.actor, 'far', ({ state }) => state === 'active')
  await untilPartition(far.actor, 'home', ({ state }) => state === 'active')
  return { home, far }
}

export async function partitionOf(actor: Actor, name: string): Promise<PartitionInfo> {
  const found = (await actor.call<PartitionInfo[]>('partitions')).find((one) => one.name === name)
  if (found === undefined) throw new Error(`no partition ${name}`)
  return found
}

export async function untilPartition(
  actor: Actor,
  name: string,
  fits: (info: PartitionInfo) => boolean,
): Promise<PartitionInfo> {
  let info = await partitionOf(actor, name)
  await until(async () => {
    info = await partitionOf(actor, name)
    return fits(info)
  })
  return info
}

/** How many permits there are on a segment, in its own partition's listing. */
export async function permitsOn(actor: Actor, segid: bigint): Promise<number> {
  const found = (await actor.call<SegmentInfo[]>('list')).find((one) => BigInt(one.segid) === segid)
  if (found === undefined) throw new Error('the segment is not listed')
  return found.permits
}

export async function untilPermits(actor: Actor, segid: bigint, count: number): Promise<void> {
  await until(async () => (await permitsOn(actor, segid)) === count)
}

export interface Made {
  readonly handle: number
  readonly segid: bigint
}

export async function make(actor: Actor, options: { name?: string; mode?: number } = {}): Promise<Made> {
  const memory = await actor.call<number>('allocate', 8_192)
  return actor.call<Made>('make', memory, options)
}

export interface Got {
  readonly handle: number
  readonly segid: bigint
  readonly apid: bigint
  readonly length: number
  readonly dataLength: number
}
