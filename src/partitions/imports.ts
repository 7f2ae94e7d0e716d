import { asXpmemError, XpmemError } from '../errors.js'
import { isId, maxPartitionId, unpackId } from '../ids.js'
import { kernel } from '../kernel/index.js'
import type { CacheFile } from '../pager/cache-file.js'
import type { PagingOptions } from '../pager/homes.js'
import type { Pagers } from '../pager/pagers.js'
import type { Client } from '../service/connection.js'
import type { Groups } from '../service/groups.js'
import { hasIpcOwner } from '../service/processes.js'
import type { Permit, Registry, Segment } from '../service/registry.js'
import type { Range } from '../service/sharing.js'
import { maxSnapshotBytes } from '../service/snapshots.js'
import type { Descriptor } from '../transport/descriptor.js'
import type { Row } from '../wire/codec.js'
import { access, extentFlag, hole, maxDescriptors } from '../wire/schema.js'
import type { RowOf } from '../wire/schema-codec.js'
import { maxGroupsTold, noFile, type XpcSchema, xpcAttachFlag, xpcGetFlag, xpcGotFlag } from '../wire/xpc-schema.js'
import type { Link } from '../xpc/link.js'
import { Caches, type HomeMessage } from './caches.js'
import type { Peer } from './peer.js'

export interface ImportsContext {
  readonly registry: Registry
  readonly pagers: Pagers
  readonly paging: PagingOptions
  readonly groups: Groups
  /** The peer behind a link that is active. */
  peerOf(link: Link): Peer
}

/** Extents for a process. */
export interface FarExtents {
  readonly rows: Row<'extent'>[]
  readonly descriptors: Descriptor[]
}

/** How long a peer may take to answer a request. */
const answerTimeoutMs = 5_000

function malformed(what: string): XpmemError {
  return new XpmemError('EPROTO', 'get', what)
}

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
    const segid = typeof key === 'bigint' ? key : await this.#find(link, key)
    const { uid, gid, groups } = client.credentials
    const rows = groups.slice(0, maxGroupsTold).map((group) => ({ gid: group, reserved: 0 }))
    const flags = hasIpcOwner(client.group.pid) ? xpcGetFlag.ipcOwner : 0
    const got = await link.request('get', { segid, access, uid, gid, flags, rows }, answerTimeoutMs)
    if (got.name !== 'got') throw malformed(`the partition answered a get with ${got.name}`)
    const peer = this.#context.peerOf(link)
    try {
      if (got.segid !== segid || got.access !== access)
        throw malformed('the partition gave another permit than was asked for')
      return this.#add(client, peer, got)
    } catch (error) {
      link.send('release', 0, { apid: got.apid })
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

  /** The peer is gone, and nobody sees its memory any more. */
  close(peer: Peer): void {
    this.#caches.get(peer)?.close()
    this.#caches.delete(peer)
  }

  /**
   * Where a range lies in the copies that this partition has, which the process's agent is ready to
   * page. ENOTSUP without a userfaultfd, and what the home refuses with.
   */
  async attach(client: Client, permit: Permit, range: Range): Promise<FarExtents> {
    const { peer, apid } = this.#permits.get(permit.apid) ?? noPermit()
    // Who only reads has a copy of its own: it takes a writable descriptor to have faults answered.
    const cache = permit.access === access.readwrite ? 0 : client.group.id
    const { offset, length, holes } = range
    const flags = holes ? xpcAttachFlag.holes : 0
    const answer = await peer.link.request('attach', { apid, offset, length, cache, flags }, answerTimeoutMs)
    if (answer.name !== 'places') throw malformed(`the partition answered an attach with ${answer.name}`)
    if (!this.#permits.has(permit.apid)) throw new XpmemError('ENOENT', 'attach', 'the segment is gone')
    return this.#extentsOf(client, permit, peer, checkPlaces(answer.rows, range), cache)
  }

  /** Copies a range as it is at home, piece by piece, into a memfd. */
  async snapshot(apid: bigint, { offset, length }: Range, into: number): Promise<void> {
    const { peer, apid: known } = this.#permits.get(apid) ?? noPermit()
    for (let done = 0; done < length; done += maxSnapshotBytes) {
      const some = Math.min(maxSnapshotBytes, length - done)
      const input = { apid: known, offset: offset + done, length: some }
      const answer = await peer.link.request('peek', input, answerTimeoutMs)
      if (answer.name !== 'peeked' || answer.bytes.length !== some)
        throw malformed('the content is not of what was asked for')
      peer.counters.pagesIn += some / kernel.pageSize
      kernel.writeAt(into, done, answer.bytes, 0, some)
    }
  }

  async #extentsOf(client: Client, permit: Permit, peer: Peer, places: Place[], cache: number): Promise<FarExtents> {
    const rows: Row<'extent'>[] = []
    const files: CacheFile[] = []
    for (const { offset, length, fileOffset, fileLength, file } of places) {
      if (file === noFile) {
        rows.push({ offset, length, fileOffset: 0, descriptor: hole, flags: 0 })
        continue
      }
      const copy = this.#cachesOf(peer).use(file, fileLength, cache, permit.apid)
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
    const caches = this.#caches.get(peer) ?? new Caches(peer, this.#context.paging, (copy) => void this.#end(copy))
    this.#caches.set(peer, caches)
    return caches
  }

  /** Ends a copy that no attachment shows any more. */
  async #end(copy: CacheFile): Promise<void> {
    const { pagers, groups } = this.#context
    const armed = pagers.groupsWith(copy.file).flatMap((group) => groups.get(group) ?? [])
    await Promise.all(armed.map((group) => pagers.disarm(group, copy.file)))
    copy.close()
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
    if (found.name !== 'found') throw malformed(`the partition answered a find with ${found.name}`)
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
      throw malformed('that is no segid of the partition')
    if (length === 0 || length % kernel.pageSize !== 0 || dataLength > length)
      throw malformed('that is no length of a segment')
    if (client.group.gone) throw new XpmemError('ESRCH', 'get', 'the process is gone')
    const offer = { address: 0n, length, dataLength, mode: 0, name: '', uid: 0, gid: 0 }
    const segment = registry.importSegment(peer.session, segid, offer)
    if (segment.length !== length) throw malformed('the segment has another length than before')
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

  #forget(apid: bigint): void {
    const known = this.#permits.get(apid)
    if (known === undefined) return
    this.#permits.delete(apid)
    this.#caches.get(known.peer)?.release(apid)
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

type Place = RowOf<XpcSchema, 'place'>

/** Bytes of a file at the most: more than any memory, and pages of it can be counted in 32 bits. */
const maxFileBytes = 2 ** 43

function noPermit(): never {
  throw new XpmemError('ENOENT', 'attach', 'no such permit: never given, or released')
}

/** Places as they must be: of whole pages, inside of their files, and in order from the start of what was asked for. */
function checkPlaces(places: readonly Place[], { offset, length }: Range): Place[] {
  const { pageSize } = kernel
  let reached = offset
  for (const place of places) {
    const { fileOffset, fileLength, file } = place
    if ([place.offset, place.length, fileOffset, fileLength].some((number) => number % pageSize !== 0)) {
      throw malformed('a place is not made of whole pages')
    }
    if (place.offset !== reached || place.length === 0) throw malformed('places do not follow each other')
    reached += place.length
    if (file === noFile) continue
    if (fileLength > maxFileBytes || fileOffset + place.length > fileLength)
      throw malformed('a place lies outside of its file')
  }
  if (reached === offset || reached > offset + length) throw malformed('the places are not of what was asked for')
  return [...places]
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
