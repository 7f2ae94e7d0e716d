import { XpmemError } from '../errors.js'
import { isId, maxPartitionId, unpackId } from '../ids.js'
import { kernel } from '../kernel/index.js'
import type { Client } from '../service/connection.js'
import { hasIpcOwner } from '../service/processes.js'
import type { Permit, Registry, Segment } from '../service/registry.js'
import { maxGroupsTold, xpcGetFlag } from '../wire/xpc-schema.js'
import type { XpcMessage } from '../xpc/connection.js'
import type { Link } from '../xpc/link.js'
import type { Peer } from './peer.js'

export interface ImportsContext {
  readonly registry: Registry
  /** The peer behind a link that is active. */
  peerOf(link: Link): Peer
  /** The peer gives answers that none can be. */
  broken(peer: Peer, why: XpmemError): void
}

/** How long a peer may take to answer a request. */
const answerTimeoutMs = 5_000

/** An answer that breaks the protocol. */
class BadAnswer extends XpmemError {
  constructor(what: string) {
    super('EPROTO', 'get', what)
  }
}

/** Segments of other partitions that processes here have got, and the permits on them. */
export class Imports {
  readonly #context: ImportsContext
  /** The home's number of each permit given here, and the peer it is of. */
  readonly #permits = new Map<bigint, { peer: Peer; apid: bigint; segid: bigint }>()
  /** The permits on each segment. */
  readonly #permitsOn = new Map<bigint, Set<bigint>>()

  constructor(context: ImportsContext) {
    this.#context = context
  }

  /** A permit on a segment of the peer's, by segid or name. */
  async get(
    client: Client,
    link: Link,
    key: bigint | string,
    access: number,
  ): Promise<{ permit: Permit; segment: Segment }> {
    const peer = this.#context.peerOf(link)
    try {
      const segid = typeof key === 'bigint' ? key : await this.#find(link, key)
      const got = await this.#ask(client, link, segid, access)
      return this.#take(client, peer, { segid, access }, got)
    } catch (error) {
      if (error instanceof BadAnswer) this.#context.broken(peer, error)
      throw error
    }
  }

  async #ask(client: Client, link: Link, segid: bigint, access: number): Promise<XpcMessage & { name: 'got' }> {
    const { uid, gid, groups } = client.credentials
    const rows = groups.slice(0, maxGroupsTold).map((group) => ({ gid: group, reserved: 0 }))
    const flags = hasIpcOwner(client.group.pid) ? xpcGetFlag.ipcOwner : 0
    const got = await link.request('get', { segid, access, uid, gid, flags, rows }, answerTimeoutMs)
    if (got.name !== 'got') throw new BadAnswer(`the partition answered a get with ${got.name}`)
    return got
  }

  /** Who asked may have gone meanwhile, or the link may have gone and come back: then the permit goes back, too. */
  #take(
    client: Client,
    peer: Peer,
    asked: { segid: bigint; access: number },
    got: XpcMessage & { name: 'got' },
  ): { permit: Permit; segment: Segment } {
    try {
      if (this.#context.peerOf(peer.link) !== peer) throw peer.link.unreachable('get')
      if (got.segid !== asked.segid || got.access !== asked.access)
        throw new BadAnswer('the partition gave another permit than was asked for')
      if (client.group.gone || client.channel.closed) throw new XpmemError('ESRCH', 'get', 'the process is gone')
      return this.#add(client, peer, got)
    } catch (error) {
      peer.link.send('release', 0, { apid: got.apid })
      throw error
    }
  }

  /** The home's number of a permit that was given here. */
  homePermit(apid: bigint): { peer: Peer; apid: bigint; segid: bigint } | undefined {
    return this.#permits.get(apid)
  }

  /** Tells the peers of permits that have ended here. */
  release(ended: readonly Permit[]): void {
    for (const { apid } of ended) this.#forget(apid)
  }

  /** The segment has ended, and with it every permit on it. */
  ended(segid: bigint): void {
    for (const apid of this.#permitsOn.get(segid) ?? []) this.#forget(apid)
  }

  async #find(link: Link, name: string): Promise<bigint> {
    const found = await link.request('find', { text: name }, answerTimeoutMs)
    if (found.name !== 'found') throw new BadAnswer(`the partition answered a find with ${found.name}`)
    return found.segid
  }

  #add(
    client: Client,
    peer: Peer,
    got: { apid: bigint; segid: bigint; length: number; dataLength: number; access: number },
  ) {
    const { registry } = this.#context
    const { segid, length, dataLength } = got
    if (!isId(segid) || unpackId(segid).partition !== peer.partition)
      throw new BadAnswer('that is no segid of the partition')
    if (length === 0 || length % kernel.pageSize !== 0 || dataLength > length)
      throw new BadAnswer('that is no length of a segment')
    const offer = { address: 0n, length, dataLength, mode: 0, name: '', uid: 0, gid: 0 }
    const segment = registry.importSegment(peer.session, segid, offer)
    if (segment.length !== length) throw new BadAnswer('the segment has another length than before')
    const permits = this.#permitsOn.get(segid) ?? new Set()
    this.#permitsOn.set(segid, permits)
    try {
      const permit = registry.grant(client.session, segid, got.access)
      this.#permits.set(permit.apid, { peer, apid: got.apid, segid })
      permits.add(permit.apid)
      return { permit, segment }
    } finally {
      if (permits.size === 0) this.#dropSegment(peer, segid)
    }
  }

  #forget(apid: bigint): void {
    const known = this.#permits.get(apid)
    if (known === undefined) return
    this.#permits.delete(apid)
    known.peer.link.send('release', 0, { apid: known.apid })
    const permits = this.#permitsOn.get(known.segid)
    permits?.delete(apid)
    if (permits?.size === 0) this.#dropSegment(known.peer, known.segid)
  }

  #dropSegment(peer: Peer, segid: bigint): void {
    this.#permitsOn.delete(segid)
    const { registry } = this.#context
    if (registry.has(segid)) registry.remove(peer.group, segid)
  }
}

/** What a key of a get says: a segment here, or one of a partition by name or number. */
export type Target =
  | { readonly where: 'here'; readonly key: bigint | string }
  | { readonly where: 'named'; readonly partition: string; readonly key: string }
  | { readonly where: 'numbered'; readonly partition: number; readonly key: bigint }

/** Reads `NAME`, `PARTITION/NAME`, or a segid, as the partition of that name and number. */
export function targetOf(key: bigint | string, ownName: string, ownId: number): Target {
  if (typeof key === 'bigint') {
    const { partition } = unpackId(key)
    const elsewhere = partition !== ownId && partition >= 1 && partition <= maxPartitionId
    return elsewhere ? { where: 'numbered', partition, key } : { where: 'here', key }
  }
  const slash = key.indexOf('/')
  if (slash < 0) return { where: 'here', key }
  const partition = key.slice(0, slash)
  const name = key.slice(slash + 1)
  return partition === ownName ? { where: 'here', key: name } : { where: 'named', partition, key: name }
}
