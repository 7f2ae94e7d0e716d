import { asXpmemError, XpmemError } from '../errors.js'
import type { Homes, PagingOptions } from '../pager/homes.js'
import type { Pagers } from '../pager/pagers.js'
import type { Client } from '../service/connection.js'
import type { Groups } from '../service/groups.js'
import type { GroupId, Permit, Registry, Segment, SessionId } from '../service/registry.js'
import type { SegmentMemory } from '../service/segment-memory.js'
import type { Range } from '../service/sharing.js'
import type { Snapshots } from '../service/snapshots.js'
import type { PartitionInfo } from '../wire/partition-info.js'
import { reason } from '../wire/schema.js'
import type { XpcMessage } from '../xpc/connection.js'
import { type Address, formatAddress, type PeerEntry } from '../xpc/directory.js'
import type { Link } from '../xpc/link.js'
import { Membership } from '../xpc/membership.js'
import { isHomeMessage } from './caches.js'
import { Exports } from './exports.js'
import { type FarExtents, Imports, type Target } from './imports.js'
import type { Peer } from './peer.js'

export interface PartitionsOptions {
  readonly listen?: Address | undefined
  readonly peers: readonly PeerEntry[]
  readonly heartbeatMs: number
  /** Names of peers whose word on who asks is taken. */
  readonly trusted: readonly string[]
}

export interface PartitionsContext {
  readonly name: string
  readonly partitionId: number
  readonly registry: Registry
  readonly groups: Groups
  readonly memories: ReadonlyMap<bigint, SegmentMemory>
  readonly homes: Homes
  readonly snapshots: Snapshots
  readonly pagers: Pagers
  readonly paging: PagingOptions
  readonly agentTimeoutMs: number
  /** A clock that only goes forward. */
  nowMs(): number
  shared(): void
  incarnation(): number
  nextSession(): SessionId
  recovered(): Promise<void>
  /** A segment of a peer's has ended: whoever holds it here must be told, which is done when this resolves. */
  ended(segment: Segment, holders: readonly GroupId[], why: number): Promise<void>
}

/** How long a peer may take to take a segment away from its processes: their agents' time, and its own. */
const revokeTimeoutMs = 8_000

/** The other partitions, seen from this one's service. */
export class Partitions {
  readonly #context: PartitionsContext
  readonly #membership: Membership
  readonly #exports: Exports
  readonly #imports: Imports
  readonly #peers = new Map<Link, Peer>()
  readonly #counters = new Map<Link, Peer['counters']>()
  readonly #byGroup = new Map<GroupId, Peer>()
  /** Groups of peers are negative, those of processes positive. */
  #lastGroup = 0

  /** EINVAL if a peer is named twice, or one is trusted that is none. */
  constructor(options: PartitionsOptions, context: PartitionsContext) {
    const { peers, listen, heartbeatMs, trusted } = options
    this.#context = context
    const stranger = trusted.find((name) => !peers.some((peer) => peer.name === name))
    if (stranger !== undefined) {
      throw new XpmemError('EINVAL', 'serve', `'${stranger}' is to be trusted but is no peer: add --peer ${stranger}`)
    }
    const { registry, pagers, paging } = context
    this.#exports = new Exports({ ...context, trusted: new Set(trusted) })
    this.#imports = new Imports({
      registry,
      pagers,
      paging,
      peerOf: (link) => this.#peerOf(link),
      broken: (peer, why) => void this.#cutOff(peer, why),
    })
    this.#membership = new Membership({
      name: context.name,
      partitionId: context.partitionId,
      incarnation: () => context.incarnation(),
      listen,
      peers,
      heartbeatMs,
      events: {
        changed: (link) => this.#changed(link),
        message: (link, message) => this.#take(this.#peerOf(link), message),
        late: (link, answer) => this.#late(link, answer),
        down: (link) => this.#down(link),
      },
    })
  }

  /** Listens and connects. Resolves to where it listens. */
  start(): Promise<Address | undefined> {
    return this.#membership.start()
  }

  async close(): Promise<void> {
    await this.#imports.giveBack()
    await this.#membership.close()
  }

  /**
   * A permit on a segment of another partition. ENOENT for a partition or segment that is unknown,
   * EHOSTUNREACH if the partition cannot be reached, at once or within 3 s, ETIMEDOUT if it does not
   * answer within 5 s.
   */
  async get(
    client: Client,
    target: Exclude<Target, { where: 'here' }>,
    access: number,
  ): Promise<{ permit: Permit; segment: Segment }> {
    const link = await this.#linkOf(target)
    await this.#membership.reach(link, 'get')
    return this.#imports.get(client, link, target.key, access)
  }

  /** Whether a permit of a process here is on a segment of another partition. */
  isImported(apid: bigint): boolean {
    return this.#imports.has(apid)
  }

  /** Whether the places of a segment of another partition do not change while it exists. */
  isStable(segid: bigint): boolean {
    return this.#imports.isStable(segid)
  }

  /** Where a range of a segment of another partition lies here. Rejects as `get`. */
  attach(client: Client, permit: Permit, range: Range): Promise<FarExtents> {
    return this.#imports.attach(client, permit, range)
  }

  /** Copies a range of a segment of another partition into a memfd. Rejects as `get`. */
  snapshot(permit: Permit, range: Range, into: number): Promise<void> {
    return this.#imports.snapshot(permit.apid, range, into)
  }

  /** Tells peers of permits on their segments that have ended here. */
  releaseEnded(): void {
    this.#imports.release(this.#context.registry.takeEndedElsewhere())
  }

  /** Whether the holder of a segment is a peer. */
  isPeer(holder: GroupId): boolean {
    return holder < 0
  }

  /** Has a peer take a segment away from its processes. Resolves when it has, or is gone. */
  async revoke(holder: GroupId, segid: bigint, why: number): Promise<void> {
    const peer = this.#byGroup.get(holder)
    if (peer === undefined) return
    try {
      await peer.link.request('revoke', { segid, reason: why }, revokeTimeoutMs)
    } catch (thrown) {
      // What a partition does not take away from its processes it does not keep either: its link ends.
      await this.#cutOff(peer, asXpmemError(thrown, 'revoke'))
    }
  }

  /** Ends the peer's link, unless it has ended, and another has begun perhaps. */
  async #cutOff(peer: Peer, why: XpmemError): Promise<void> {
    if (peer.link.active && this.#peers.get(peer.link) === peer) await peer.link.deactivate(why, true)
  }

  list(): PartitionInfo[] {
    return this.#membership.links.map((link) => ({
      name: link.peer.name,
      id: link.identity?.partition ?? null,
      address: link.peer.address === undefined ? null : formatAddress(link.peer.address),
      state: link.state.name,
      reason: link.state.reason,
      since: new Date(link.state.sinceMs).toISOString(),
      roundTripMs: link.active ? (link.rttMs ?? null) : null,
      ...this.#countersOf(link),
      bytesIn: link.bytes.in,
      bytesOut: link.bytes.out,
    }))
  }

  async #linkOf(target: Exclude<Target, { where: 'here' }>): Promise<Link> {
    if (target.where === 'named') return this.#membership.byName(target.partition, 'get')
    let link = this.#membership.byId(target.partition)
    if (link === undefined) {
      // The number of a peer that was never heard of is not known.
      await this.#membership.reachAll()
      link = this.#membership.byId(target.partition)
    }
    if (link !== undefined) return link
    const unheard = this.#membership.links.find(({ identity }) => identity === undefined)
    if (unheard !== undefined) throw unheard.unreachable('get')
    throw new XpmemError('ENOENT', 'get', `no partition with the number ${target.partition} is known here`)
  }

  #countersOf(link: Link): Peer['counters'] {
    const counters = this.#counters.get(link) ?? { pagesIn: 0, pagesOut: 0 }
    this.#counters.set(link, counters)
    return counters
  }

  #peerOf(link: Link): Peer {
    const peer = this.#peers.get(link)
    if (peer === undefined) throw link.unreachable('xpc')
    return peer
  }

  #changed(link: Link): void {
    if (!link.active || link.identity === undefined) return
    this.#lastGroup -= 1
    const peer = {
      link,
      partition: link.identity.partition,
      group: this.#lastGroup,
      session: this.#context.nextSession(),
      counters: this.#countersOf(link),
      asker: {
        get closed() {
          return !link.active
        },
      },
    }
    this.#context.registry.openSession(peer.session, peer.group)
    this.#peers.set(link, peer)
    this.#byGroup.set(peer.group, peer)
  }

  #take(peer: Peer, message: XpcMessage): void {
    if (message.name === 'revoke') this.#revoke(peer, message)
    else if (isHomeMessage(message)) this.#imports.take(peer, message)
    else this.#exports.handle(peer, message)
  }

  /** A permit that came too late for the process that asked is given back. */
  #late(link: Link, answer: XpcMessage): void {
    if (answer.name === 'got') link.send('release', 0, { apid: answer.apid })
  }

  /** A segment of the peer's has ended. EPROTO if it is not the peer's. */
  #revoke(peer: Peer, message: XpcMessage<'revoke'>): void {
    const { registry } = this.#context
    const { segid, reason: why } = message
    if (why !== reason.removed && why !== reason.ownerExit) throw new XpmemError('EPROTO', 'revoke', 'no such reason')
    const known = registry.has(segid)
    if (known && registry.find(segid, 'revoke').owner !== peer.group) {
      throw new XpmemError('EPROTO', 'revoke', 'the segment is not of that partition')
    }
    const { segment, holders } = known ? registry.remove(peer.group, segid) : {}
    void this.#answerRevoke(peer, message, segment && this.#context.ended(segment, holders ?? [], why))
  }

  async #answerRevoke(
    peer: Peer,
    { request, segid, reason: why }: XpcMessage<'revoke'>,
    revoked: Promise<void> | undefined,
  ): Promise<void> {
    await revoked
    this.#imports.ended(segid, why === reason.ownerExit)
    if (this.#peers.get(peer.link) === peer) peer.link.send('done', request, {})
  }

  async #down(link: Link): Promise<void> {
    const peer = this.#peers.get(link)
    if (peer === undefined) return
    this.#peers.delete(link)
    this.#byGroup.delete(peer.group)
    this.#exports.close(peer)
    const ended = this.#context.registry.endGroup(peer.group)
    await Promise.all(ended.map(({ segment, holders }) => this.#context.ended(segment, holders, reason.partition)))
    for (const { segment } of ended) this.#imports.ended(segment.segid, false)
    this.#imports.close(peer)
  }
}
