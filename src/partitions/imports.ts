import { asXpmemError, XpmemError } from '../errors.js'
import { isId, maxPartitionId, unpackId } from '../ids.js'
import { kernel } from '../kernel/index.js'
import type { CacheFile } from '../pager/cache-file.js'
import type { PagingOptions } from '../pager/homes.js'
import type { Pagers } from '../pager/pagers.js'
import type { Client } from '../service/connection.js'
import { hasIpcOwner } from '../service/processes.js'
import type { Permit, Registry, Segment } from '../service/registry.js'
import type { Range } from '../service/sharing.js'
import { maxSnapshotBytes } from '../service/snapshots.js'
import type { Descriptor } from '../transport/descriptor.js'
import type { Row } from '../wire/codec.js'
import { access, extentFlag, hole, maxDescriptors } from '../wire/schema.js'
import { maxGroupsTold, noFile, xpcAttachFlag, xpcGetFlag, xpcGotFlag } from '../wire/xpc-schema.js'
import type { XpcInput, XpcMessage } from '../xpc/connection.js'
import type { Link } from '../xpc/link.js'
import { type CacheKind, Caches, type HomeMessage } from './caches.js'
import type { Peer } from './peer.js'
import { BadAnswer, checkPlaces, type Place } from './places.js'

export interface ImportsContext {
  readonly registry: Registry
  readonly pagers: Pagers
  readonly paging: PagingOptions
  /** The peer behind a link that is active. */
  peerOf(link: Link): Peer
  /** The peer gives answers that none can be. */
  broken(peer: Peer, why: XpmemError): void
}

/** Extents for a process. */
export interface FarExtents {
  readonly rows: Row<'extent'>[]
  readonly descriptors: Descriptor[]
}

/** How long a peer may take to answer a request. */
const answerTimeoutMs = 5_000

/** Segments of other partitions that processes here have got, and the permits on them. */
export class Imports {
  readonly #context: ImportsContext
  /** The home's number of each permit given here, and the peer it is of. */
  readonly #permits = new Map<bigint, { peer: Peer; apid: bigint; segid: bigint }>()
  readonly #caches = new Map<Peer, Caches>()
  /** Segments whose places do not change while they exist. */
  readonly #stable = new Set<bigint>()
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
    return this.#trusting(peer, async () => {
      const segid = typeof key === 'bigint' ? key : await this.#find(link, key)
      const got = await this.#ask(client, link, segid, access)
      return this.#take(client, peer, { segid, access }, got)
    })
  }

  async #ask(client: Client, link: Link, segid: bigint, access: number): Promise<XpcMessage & { name: 'got' }> {
    const { uid, gid, groups } = client.credentials
    const rows = groups.slice(0, maxGroupsTold).map((group) => ({ gid: group, reserved: 0 }))
    const flags = hasIpcOwner(client.group.pid, client.credentials.uid) ? xpcGetFlag.ipcOwner : 0
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

  isStable(segid: bigint): boolean {
    return this.#stable.has(segid)
  }

  /** Whether a permit is on a segment of another partition. */
  has(apid: bigint): boolean {
    return this.#permits.has(apid)
  }

  /** Carries out a message about pages of a peer's files. */
  take(peer: Peer, message: HomeMessage): void {
    this.#cachesOf(peer).take(message)
  }

  /** Sends home what was changed of the peers' memory, as this service ends. */
  async giveBack(): Promise<void> {
    // What cannot be sent any more is lost to a peer that is lost.
    await Promise.allSettled([...this.#caches.values()].map((caches) => caches.giveBackAll()))
  }

  /** The peer is gone, and nobody sees its memory any more. */
  close(peer: Peer): void {
    this.#caches.get(peer)?.close()
    this.#caches.delete(peer)
  }

  /**
   * Where a range lies in the copies that this partition has, which the process's agent is ready to
   * page. ENOTSUP without a userfaultfd, and what the home refuses with.
   */
  attach(client: Client, permit: Permit, range: Range): Promise<FarExtents> {
    const { peer, apid } = this.#permits.get(permit.apid) ?? noPermit()
    return this.#trusting(peer, () => this.#attach(client, permit, range, peer, apid))
  }

  /** Cuts off a peer that gives answers that none can be. */
  async #trusting<T>(peer: Peer, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof BadAnswer) this.#context.broken(peer, error)
      throw error
    }
  }

  async #attach(client: Client, permit: Permit, range: Range, peer: Peer, apid: bigint): Promise<FarExtents> {
    // Who only reads has a copy of its own: it takes a writable descriptor to have faults answered.
    const kind: CacheKind =
      permit.access === access.readwrite ? { cache: 0, access: 'write' } : { cache: client.group.id, access: 'read' }
    const { offset, length, holes } = range
    const flags = holes ? xpcAttachFlag.holes : 0
    const input = { apid, offset, length, cache: kind.cache, flags }
    const caches = this.#cachesOf(peer)
    for (;;) {
      await caches.left()
      const { leaves } = caches
      const places = await this.#places(peer, input)
      // A copy that was given up meanwhile may be one of those that the answer tells of.
      if (caches.leaves !== leaves || caches.isLeaving) continue
      if (this.#permits.has(permit.apid)) return this.#extentsOf(client, permit, peer, checkPlaces(places, range), kind)
      caches.abandon(places, kind)
      throw new XpmemError('ENOENT', 'attach', 'the segment is gone')
    }
  }

  async #places(peer: Peer, input: XpcInput<'attach'>): Promise<readonly Place[]> {
    const answer = await peer.link.request('attach', input, answerTimeoutMs)
    if (answer.name !== 'places') throw new BadAnswer(`the partition answered an attach with ${answer.name}`)
    return answer.rows
  }

  /** Copies a range as it is at home, piece by piece, into a memfd. */
  snapshot(apid: bigint, range: Range, into: number): Promise<void> {
    const { peer, apid: known } = this.#permits.get(apid) ?? noPermit()
    return this.#trusting(peer, () => this.#peek(peer, known, range, into))
  }

  async #peek(peer: Peer, known: bigint, { offset, length }: Range, into: number): Promise<void> {
    for (let done = 0; done < length; done += maxSnapshotBytes) {
      const some = Math.min(maxSnapshotBytes, length - done)
      const input = { apid: known, offset: offset + done, length: some }
      const answer = await peer.link.request('peek', input, answerTimeoutMs)
      if (answer.name !== 'peeked' || answer.bytes.length !== some)
        throw new BadAnswer('the content is not of what was asked for')
      peer.counters.pagesIn += some / kernel.pageSize
      kernel.writeAt(into, done, answer.bytes, 0, some)
    }
  }

  async #extentsOf(client: Client, permit: Permit, peer: Peer, places: Place[], kind: CacheKind): Promise<FarExtents> {
    const rows: Row<'extent'>[] = []
    const files: CacheFile[] = []
    for (const { offset, length, fileOffset, fileLength, file } of places) {
      if (file === noFile) {
        rows.push({ offset, length, fileOffset: 0, descriptor: hole, flags: 0 })
        continue
      }
      const copy = this.#cachesOf(peer).use(file, fileLength, kind, permit.apid)
      copy.attached({ first: fileOffset / kernel.pageSize, count: length / kernel.pageSize })
      let descriptor = files.indexOf(copy)
      if (descriptor < 0 && files.length === maxDescriptors) break
      if (descriptor < 0) descriptor = files.push(copy) - 1
      rows.push({ offset, length, fileOffset, descriptor, flags: extentFlag.copy })
    }
    await Promise.all(files.map((copy) => this.#arm(client, copy)))
    return { rows, descriptors: files.map(({ file }) => file.descriptor) }
  }

  async #arm({ group }: Client, copy: CacheFile): Promise<void> {
    const { pagers } = this.#context
    if (pagers.isArmed(group, copy.file)) return
    try {
      await pagers.arm(group, { file: copy.file, handler: copy })
    } catch (thrown) {
      const error = asXpmemError(thrown, 'attach')
      if (error.code !== 'ENOTSUP') throw error
      const why = "memory of other partitions needs a userfaultfd, which this process is not given: see 'xpmem doctor'"
      throw new XpmemError('ENOTSUP', 'attach', why, { cause: error })
    }
  }

  #cachesOf(peer: Peer): Caches {
    const { paging, pagers } = this.#context
    const caches = this.#caches.get(peer) ?? new Caches(peer, paging, (copy) => pagers.disarmAll(copy.file))
    this.#caches.set(peer, caches)
    return caches
  }

  /** Tells the peers of permits that have ended here. */
  release(ended: readonly Permit[]): void {
    for (const { apid } of ended) this.#forget(apid, false)
  }

  /** The segment has ended, and with it every permit on it. `kept`: processes may have kept attachments. */
  ended(segid: bigint, kept: boolean): void {
    for (const apid of this.#permitsOn.get(segid) ?? []) this.#forget(apid, kept)
  }

  async #find(link: Link, name: string): Promise<bigint> {
    const found = await link.request('find', { text: name }, answerTimeoutMs)
    if (found.name !== 'found') throw new BadAnswer(`the partition answered a find with ${found.name}`)
    return found.segid
  }

  #add(
    client: Client,
    peer: Peer,
    got: { apid: bigint; segid: bigint; length: number; dataLength: number; access: number; flags: number },
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
      if ((got.flags & xpcGotFlag.stable) !== 0) this.#stable.add(segid)
      this.#permits.set(permit.apid, { peer, apid: got.apid, segid })
      permits.add(permit.apid)
      return { permit, segment }
    } finally {
      if (permits.size === 0) this.#dropSegment(peer, segid)
    }
  }

  #forget(apid: bigint, kept: boolean): void {
    const known = this.#permits.get(apid)
    if (known === undefined) return
    this.#permits.delete(apid)
    this.#caches.get(known.peer)?.release(apid, kept)
    known.peer.link.send('release', 0, { apid: known.apid })
    const permits = this.#permitsOn.get(known.segid)
    permits?.delete(apid)
    if (permits?.size === 0) this.#dropSegment(known.peer, known.segid)
  }

  #dropSegment(peer: Peer, segid: bigint): void {
    this.#permitsOn.delete(segid)
    this.#stable.delete(segid)
    const { registry } = this.#context
    if (registry.has(segid)) registry.remove(peer.group, segid)
  }
}

function noPermit(): never {
  throw new XpmemError('ENOENT', 'attach', 'no such permit: never given, or released')
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
