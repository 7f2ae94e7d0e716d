import { asXpmemError, type ErrorCode, XpmemError } from '../errors.js'
import { isId } from '../ids.js'
import { kernel } from '../kernel/index.js'
import type { Homes } from '../pager/homes.js'
import type { Extent } from '../service/extents.js'
import type { Groups } from '../service/groups.js'
import { type Credentials, modeAllows } from '../service/permission.js'
import type { Permit, Registry, Segment } from '../service/registry.js'
import type { SegmentMemory } from '../service/segment-memory.js'
import { checkRange, clipped as clipExtent, ensureShared, isCurrent } from '../service/sharing.js'
import { maxSnapshotBytes, type Snapshots } from '../service/snapshots.js'
import { access } from '../wire/schema.js'
import type { RowOf } from '../wire/schema-codec.js'
import { maxGroupsTold, noFile, type XpcSchema, xpcAttachFlag, xpcGetFlag, xpcGotFlag } from '../wire/xpc-schema.js'
import type { XpcInput, XpcMessage, XpcName } from '../xpc/connection.js'
import { isCacheMessage, Nodes } from './nodes.js'
import type { Peer } from './peer.js'

export interface ExportsContext {
  readonly registry: Registry
  /** Peers whose word on who asks is taken. */
  readonly trusted: ReadonlySet<string>
  readonly memories: ReadonlyMap<bigint, SegmentMemory>
  readonly groups: Groups
  readonly homes: Homes
  readonly snapshots: Snapshots
  readonly agentTimeoutMs: number
  nowMs(): number
  /** Memory was put into files that its owner may let go of. */
  shared(): void
  /** Resolves when segments of an earlier service have had time to come back. */
  recovered(): Promise<void>
}

/** Belongs to nobody, and to no group: what a process of a partition that is not trusted is taken for. */
const somebodyElse: Credentials = { uid: -1, gid: -1, groups: [] }

type Reply = { [N in XpcName]: { name: N; input: XpcInput<N> } }[XpcName]

function fail(code: ErrorCode, call: string, message: string): never {
  throw new XpmemError(code, call, message)
}

/** Characters of a failure's text at the most. */
const maxFailureText = 1_000

/** Places told in one answer: files in pieces are asked for again from where it ends. */
const maxPlaces = 1_024

type PlaceRow = RowOf<XpcSchema, 'place'>

function failureOf(thrown: unknown, call: string): { errno: number; text: string } {
  const error = asXpmemError(thrown, call)
  return { errno: error.errno, text: error.reason.slice(0, maxFailureText) }
}

/** Copies of memory that are made at once. */
const maxPeeking = 64

/** Requests that wait for segments to come back, at the most. */
const maxAwaiting = 1_024

/** What peers ask of segments that were made here. */
export class Exports {
  readonly #context: ExportsContext
  readonly #nodes = new Map<Peer, Nodes>()
  #awaiting = 0
  #peeking = 0

  constructor(context: ExportsContext) {
    this.#context = context
  }

  /** Carries out a request, now or when segments have come back. Throws EPROTO for what breaks the protocol. */
  handle(peer: Peer, message: XpcMessage): void {
    if (isCacheMessage(message)) return this.#nodesOf(peer).take(message)
    switch (message.name) {
      case 'attach':
        void this.#answerAttach(peer, message)
        return
      case 'peek':
        void this.#answerPeek(peer, message)
        return
      case 'sync':
        return peer.link.send('done', message.request, {})
      case 'leave':
        return this.#leave(this.#nodesOf(peer).leave(message.file, message.cache))
      case 'find':
        return this.#answer(peer, message, () => this.#find(message.text))
      case 'get':
        if (message.rows.length > maxGroupsTold)
          fail('EPROTO', 'get', 'the process is in more groups than there can be')
        return this.#answer(peer, message, () => this.#get(peer, message))
      case 'release':
        // A segment may have ended, and its permits with it, while this was on its way.
        if (this.#context.registry.hasPermit(message.apid)) this.#context.registry.release(peer.group, message.apid)
        return
      default:
        return fail('EPROTO', message.name, 'a partition does not send this')
    }
  }

  /** The peer is gone: pages that it had for writing are as they were before. */
  close(peer: Peer): void {
    for (const identity of this.#nodes.get(peer)?.close() ?? []) this.#leave(identity)
    this.#nodes.delete(peer)
  }

  #leave(identity: string | undefined): void {
    if (identity !== undefined) this.#context.homes.release(identity)
  }

  #nodesOf(peer: Peer): Nodes {
    const nodes = this.#nodes.get(peer) ?? new Nodes(peer)
    this.#nodes.set(peer, nodes)
    return nodes
  }

  async #answerAttach(peer: Peer, message: XpcMessage<'attach'>): Promise<void> {
    try {
      const rows = await this.#attach(peer, message)
      peer.link.send('places', message.request, { rows })
    } catch (thrown) {
      peer.link.send('failure', message.request, failureOf(thrown, message.name))
    }
  }

  async #answerPeek(peer: Peer, message: XpcMessage<'peek'>): Promise<void> {
    const { offset, length } = message
    this.#peeking += 1
    try {
      if (this.#peeking > maxPeeking) fail('EAGAIN', 'attach', 'the home copies memory for many already')
      if (length > maxSnapshotBytes)
        fail('EINVAL', 'attach', `${maxSnapshotBytes} bytes are copied at once at the most`)
      const { segment, memory } = this.#attachable(peer, message)
      const bytes = await this.#context.snapshots.read(segment, memory, { offset, length }, peer.asker)
      this.#context.registry.hold(peer.group, segment.segid, message.apid)
      peer.link.send('peeked', message.request, { bytes })
      peer.counters.pagesOut += length / kernel.pageSize
    } catch (thrown) {
      peer.link.send('failure', message.request, failureOf(thrown, 'attach'))
    } finally {
      this.#peeking -= 1
    }
  }

  /** The permit, its segment and the segment's memory, if the range can be attached with it. */
  #attachable(peer: Peer, { apid, offset, length }: XpcMessage<'attach' | 'peek'>) {
    const { registry, memories } = this.#context
    const permit = registry.permit(peer.group, apid, 'attach')
    const segment = this.#local(permit.segid, 'attach')
    checkRange(segment, offset, length)
    const memory = memories.get(segment.segid)
    if (memory === undefined) return fail('ENOENT', 'attach', 'the segment was removed')
    return { permit, segment, memory }
  }

  async #attach(peer: Peer, message: XpcMessage<'attach'>): Promise<PlaceRow[]> {
    const { registry, groups } = this.#context
    const { apid, offset, length } = message
    const { permit, segment, memory } = this.#attachable(peer, message)
    const range = { offset, length, holes: (message.flags & xpcAttachFlag.holes) !== 0 }
    if (!isCurrent(segment, memory, range, groups)) {
      await ensureShared(segment, memory, range, peer.asker, this.#context)
      this.#context.shared()
    }
    const rows: PlaceRow[] = []
    for (const extent of memory.known(offset, length).slice(0, maxPlaces)) {
      rows.push(await this.#place(peer, permit, clipExtent(extent, range), memory, message))
    }
    if (!peer.link.active || memory.closed) fail('ENOENT', 'attach', 'the segment was removed')
    registry.hold(peer.group, segment.segid, apid)
    return rows
  }

  /** Lets the peer's cache ask for an extent's pages. */
  async #place(
    peer: Peer,
    permit: Permit,
    extent: Extent,
    memory: SegmentMemory,
    { cache, flags }: XpcMessage<'attach'>,
  ): Promise<PlaceRow> {
    const { offset, length, fileOffset } = extent
    const file = memory.file(extent.file)
    if (file === undefined) {
      if ((flags & xpcAttachFlag.holes) === 0) fail('EFAULT', 'attach', `nothing is mapped at offset ${offset}`)
      return { offset, length, fileOffset: 0, fileLength: 0, file: noFile, reserved: 0 }
    }
    if (!file.sealed)
      fail('EFAULT', 'attach', `a file is mapped at offset ${offset}, which cannot be shared with another partition`)
    const paged = await this.#context.homes.open(file.identity, file.readwrite)
    if (!peer.link.active) {
      this.#context.homes.release(file.identity)
      throw peer.link.unreachable('attach')
    }
    const pages = { first: fileOffset / kernel.pageSize, count: length / kernel.pageSize }
    this.#nodesOf(peer).allow(paged, cache, permit.access === access.readwrite ? 'write' : 'read', pages)
    const fileLength = paged.home.file.pageCount * kernel.pageSize
    return { offset, length, fileOffset, fileLength, file: paged.number, reserved: 0 }
  }

  #answer(peer: Peer, message: XpcMessage, work: () => Reply): void {
    const send = (answer: Reply) => peer.link.send(answer.name, message.request, answer.input)
    const refuse = (thrown: unknown) => send({ name: 'failure', input: failureOf(thrown, message.name) })
    try {
      send(work())
    } catch (thrown) {
      if (asXpmemError(thrown, message.name).code !== 'ENOENT') return refuse(thrown)
      if (this.#awaiting === maxAwaiting) {
        return refuse(new XpmemError('EAGAIN', message.name, 'too many wait for segments to come back: try again'))
      }
      void this.#answerRecovered(peer, () => send(work()), refuse)
    }
  }

  /** While owners are still coming back after a restart, 'not there' is not said before they had the time. */
  async #answerRecovered(peer: Peer, answer: () => void, refuse: (thrown: unknown) => void): Promise<void> {
    this.#awaiting += 1
    await this.#context.recovered()
    this.#awaiting -= 1
    if (!peer.link.active) return
    try {
      answer()
    } catch (thrown) {
      refuse(thrown)
    }
  }

  #find(name: string): Reply {
    return { name: 'found', input: { segid: this.#local(name, 'get').segid } }
  }

  /** Segments that this partition has itself from elsewhere are not passed on: their home is asked for them. */
  #local(key: string | bigint, call: string): Segment {
    const segment = this.#context.registry.find(key, call)
    if (segment.origin === 'elsewhere') fail('ENOENT', call, 'the segment was made in another partition')
    return segment
  }

  #get(peer: Peer, message: XpcMessage & { name: 'get' }): Reply {
    const { registry, trusted } = this.#context
    if (message.access !== access.read && message.access !== access.readwrite) {
      fail('EINVAL', 'get', "the access is 'read' or 'readwrite'")
    }
    if (!isId(message.segid)) fail('EINVAL', 'get', 'a segid is positive')
    const segment = this.#local(message.segid, 'get')
    const isTrusted = trusted.has(peer.link.peer.name)
    const { uid, gid, rows } = message
    const who = isTrusted ? { uid, gid, groups: rows.map((row) => row.gid) } : somebodyElse
    const passes = isTrusted && (message.flags & xpcGetFlag.ipcOwner) !== 0
    if (!passes && !modeAllows(who, segment, message.access)) {
      const mode = segment.mode.toString(8).padStart(4, '0')
      const whom = isTrusted ? `uid ${uid}` : 'others, as which processes of a partition count that is not trusted'
      fail('EACCES', 'get', `the segment's mode ${mode} does not allow it to ${whom}`)
    }
    const permit = registry.grant(peer.session, segment.segid, message.access)
    const { segid, length, dataLength } = segment
    const flags = this.#context.memories.get(segid)?.stable ? xpcGotFlag.stable : 0
    return { name: 'got', input: { apid: permit.apid, segid, length, dataLength, access: permit.access, flags } }
  }
}
