import { type ErrorCode, XpmemError } from '../errors.js'
import { unpackId } from '../ids.js'
import { countFirst } from '../sorted.js'
import { AwaitedHolders } from './awaited-holders.js'

/** A process, by a number that the service gives once. */
export type GroupId = number
/** A control connection of a process, likewise. */
export type SessionId = number

/** What an owner offers. */
export interface Offer {
  /** Where the memory lies in the owner's address space. */
  readonly address: bigint
  /** Bytes offered: a multiple of the page size. */
  readonly length: number
  /** How many of them mean something. */
  readonly dataLength: number
  readonly mode: number
  /** '' for none. */
  readonly name: string
  readonly uid: number
  readonly gid: number
}

export interface Segment extends Offer {
  readonly segid: bigint
  readonly owner: GroupId
  /**
   * Where it comes from: made here, made under an earlier service, so that processes may hold it that
   * this service has not heard of yet, or made in another partition.
   */
  readonly origin: 'here' | 'earlier' | 'elsewhere'
}

export interface Permit {
  readonly apid: bigint
  readonly segid: bigint
  readonly holder: GroupId
  /** `access` of the wire schema. */
  readonly access: number
}

interface SessionRecord {
  readonly group: GroupId
  readonly segments: Set<bigint>
  readonly permits: Set<bigint>
  /** Its connection is closed. */
  left: boolean
}

interface SegmentRecord {
  readonly segment: Segment
  session: SessionId
  /** Processes that were given descriptors, with the permits they were given them for. */
  holders: Map<GroupId, Set<bigint>> | undefined
}

interface PermitRecord {
  readonly permit: Permit
  session: SessionId
}

/** What one process may keep in the registry, so that no process can fill it for the others, and all together. */
export interface Limits {
  readonly segmentsPerGroup: number
  readonly permitsPerGroup: number
  readonly segments: number
  readonly permits: number
}

/** Stands for the permit of a holder that its agent told of, after a restart of the service. */
const toldByAgent = 0n

function fail(code: ErrorCode, call: string, message: string): never {
  throw new XpmemError(code, call, message)
}

function tooMany(kind: 'segments' | 'permits'): string {
  return `the service has as many ${kind} as it has memory for`
}

/**
 * Segments, permits, and which process has which. No I/O and no clock: each call changes the state
 * or throws and changes nothing, and what must be done outside is in what it returns.
 */
export class Registry {
  readonly #nextId: () => bigint
  readonly #limits: Limits
  readonly #segments = new Map<bigint, SegmentRecord>()
  /** All segids and some that are gone, ascending; undefined until somebody asks. */
  #order: bigint[] | undefined
  readonly #names = new Map<string, bigint>()
  readonly #permits = new Map<bigint, PermitRecord>()
  /** How many there are on each segment that has any. */
  readonly #permitCounts = new Map<bigint, number>()
  readonly #sessions = new Map<SessionId, SessionRecord>()
  readonly #sessionsOf = new Map<GroupId, Set<SessionId>>()
  readonly #awaited: AwaitedHolders
  /** Restored segments that were removed since: a holder that comes back late is told so. */
  readonly #removedAfterRestore = new Set<bigint>()
  /** Permits on segments of other partitions that ended since somebody asked. */
  #endedElsewhere: Permit[] = []

  /** `nextId` gives a number that no identifier of this partition ever had. */
  constructor(nextId: () => bigint, limits: Limits) {
    this.#nextId = nextId
    this.#limits = limits
    this.#awaited = new AwaitedHolders(limits.segmentsPerGroup)
  }

  get segmentCount(): number {
    return this.#segments.size
  }

  openSession(session: SessionId, group: GroupId): void {
    this.#sessions.set(session, { group, segments: new Set(), permits: new Set(), left: false })
    const sessions = this.#sessionsOf.get(group)
    if (sessions === undefined) this.#sessionsOf.set(group, new Set([session]))
    else sessions.add(session)
  }

  make(session: SessionId, offer: Offer): Segment {
    return this.#addSegment(session, this.#nextId(), offer, 'here')
  }

  /**
   * A segment that came back with the identifier an earlier service gave it; the caller has checked
   * that it is the owner's. One that is there already moves to this session.
   */
  restoreSegment(session: SessionId, segid: bigint, offer: Offer): Segment {
    const { group } = this.#session(session)
    const known = this.#segments.get(segid)
    if (known === undefined) return this.#addSegment(session, segid, offer, 'earlier')
    if (known.segment.owner !== group) fail('EACCES', 'make', 'the segid belongs to another process')
    this.#session(session).segments.add(segid)
    if (known.session !== session) this.#forget(known.session, 'segments', segid)
    known.session = session
    return known.segment
  }

  /** A segment of another partition, whose session stands for that partition; the one that is there if it is known. */
  importSegment(session: SessionId, segid: bigint, offer: Offer): Segment {
    const known = this.#segments.get(segid)
    if (known === undefined) return this.#addSegment(session, segid, offer, 'elsewhere')
    if (known.session !== session) fail('EPROTO', 'get', 'the segid belongs to another partition')
    return known.segment
  }

  #addSegment(session: SessionId, segid: bigint, offer: Offer, origin: Segment['origin']): Segment {
    const { group, segments } = this.#session(session)
    this.#requireRoom(group, 'segments', this.#limits.segmentsPerGroup, 'make')
    if (this.#segments.size >= this.#limits.segments) fail('EMFILE', 'make', tooMany('segments'))
    if (offer.name !== '' && this.#names.has(offer.name)) {
      fail('EEXIST', 'make', `a segment named '${offer.name}' exists in this partition`)
    }
    // Written out, not spread: a spread object has a hidden class of its own, and there are many of these.
    const { address, length, dataLength, mode, name, uid, gid } = offer
    const segment: Segment = { address, length, dataLength, mode, name, uid, gid, segid, owner: group, origin }
    this.#segments.set(segid, { segment, session, holders: undefined })
    if (this.#order !== undefined && segid > (this.#order.at(-1) ?? 0n)) this.#order.push(segid)
    else this.#order = undefined
    for (const holder of this.giveUpAwaited(segid)) this.hold(holder, segid, toldByAgent)
    if (offer.name !== '') this.#names.set(offer.name, segid)
    segments.add(segid)
    return segment
  }

  /** ENOENT for a segid or a name that is not there. */
  find(key: bigint | string, call: string): Segment {
    const segid = typeof key === 'bigint' ? key : this.#names.get(key)
    const record = segid === undefined ? undefined : this.#segments.get(segid)
    if (record === undefined) {
      fail(
        'ENOENT',
        call,
        typeof key === 'bigint'
          ? 'no such segment: never made, removed, or its owner is gone'
          : `no segment is named '${key}'`,
      )
    }
    return record.segment
  }

  has(segid: bigint): boolean {
    return this.#segments.has(segid)
  }

  /** A permit on the segment; the caller has asked whether it may be. */
  grant(session: SessionId, segid: bigint, access: number): Permit {
    const record = this.#segments.get(segid)
    if (record === undefined) fail('ENOENT', 'get', 'the segment is gone')
    const { group } = this.#session(session)
    this.#requireRoom(group, 'permits', this.#limits.permitsPerGroup, 'get')
    return this.#addPermit(session, { apid: this.#nextId(), segid, holder: group, access })
  }

  /** A permit that an earlier service gave this process; the caller has checked that it did. */
  restorePermit(session: SessionId, apid: bigint, segid: bigint, access: number): Permit {
    const { group } = this.#session(session)
    const known = this.#permits.get(apid)
    if (known === undefined) return this.#addPermit(session, { apid, segid, holder: group, access })
    if (known.permit.holder !== group) fail('EACCES', 'restore', 'the apid belongs to another process')
    this.#session(session).permits.add(apid)
    if (known.session !== session) this.#forget(known.session, 'permits', apid)
    known.session = session
    return known.permit
  }

  #addPermit(session: SessionId, permit: Permit): Permit {
    if (this.#permits.size >= this.#limits.permits) fail('EMFILE', 'get', tooMany('permits'))
    this.#permits.set(permit.apid, { permit, session })
    this.#permitCounts.set(permit.segid, this.permitCount(permit.segid) + 1)
    this.#session(session).permits.add(permit.apid)
    return permit
  }

  hasPermit(apid: bigint): boolean {
    return this.#permits.has(apid)
  }

  /** ENOENT for an unknown or released permit, EACCES for another process's. */
  permit(group: GroupId, apid: bigint, call: string): Permit {
    const record = this.#permits.get(apid)
    if (record === undefined) fail('ENOENT', call, 'no such permit: never given, or released')
    if (record.permit.holder !== group) fail('EACCES', call, 'the permit belongs to another process')
    return record.permit
  }

  release(group: GroupId, apid: bigint): void {
    this.permit(group, apid, 'release')
    this.#dropPermit(apid)
  }

  #dropPermit(apid: bigint): void {
    const record = this.#permits.get(apid)
    if (record === undefined) return
    this.#permits.delete(apid)
    this.#forget(record.session, 'permits', apid)
    const { segid, holder } = record.permit
    const left = this.permitCount(segid) - 1
    if (left === 0) this.#permitCounts.delete(segid)
    else this.#permitCounts.set(segid, left)
    const { segment, holders } = this.#segments.get(segid) ?? {}
    if (segment?.origin === 'elsewhere') this.#endedElsewhere.push(record.permit)
    const permits = holders?.get(holder)
    permits?.delete(apid)
    if (permits?.size === 0) holders?.delete(holder)
  }

  /** The permits on segments of other partitions that ended since the last call, in order. */
  takeEndedElsewhere(): Permit[] {
    const ended = this.#endedElsewhere
    if (ended.length > 0) this.#endedElsewhere = []
    return ended
  }

  /** The process is about to be given descriptors of the segment: it must be told of its end. */
  hold(group: GroupId, segid: bigint, apid: bigint): void {
    const record = this.#segments.get(segid)
    if (record === undefined) fail('ENOENT', 'attach', 'the segment is gone')
    record.holders ??= new Map()
    const permits = record.holders.get(group)
    if (permits === undefined) record.holders.set(group, new Set([apid]))
    else permits.add(apid)
  }

  /**
   * A process says that it holds descriptors of a segment. 'known': it is a holder now; 'gone': the
   * segment has ended and the process must be told; 'awaited': its owner has not come back yet.
   */
  heldElsewhere(group: GroupId, segid: bigint, currentIncarnation: number): 'known' | 'gone' | 'awaited' {
    const record = this.#segments.get(segid)
    if (record !== undefined) {
      // Who holds a segment made under this service is known, whatever somebody says.
      if (record.segment.origin === 'earlier') this.hold(group, segid, toldByAgent)
      return 'known'
    }
    if (this.#removedAfterRestore.has(segid)) return 'gone'
    if (unpackId(segid).incarnation === currentIncarnation) return 'gone'
    this.#awaited.add(segid, group)
    return 'awaited'
  }

  /** Whether somebody holds the segment and its owner has not come back. */
  isAwaited(segid: bigint): boolean {
    return this.#awaited.has(segid)
  }

  /** The owner of an awaited segment is gone: who must be told. */
  giveUpAwaited(segid: bigint): GroupId[] {
    return this.#awaited.take(segid)
  }

  /** Another segment of the same owner that shares memory with this one. */
  overlaps(segment: Segment): boolean {
    const end = (one: Segment) => one.address + BigInt(one.length)
    for (const { segment: other } of this.#segments.values()) {
      if (other.owner !== segment.owner || other.segid === segment.segid) continue
      if (other.address < end(segment) && end(other) > segment.address) return true
    }
    return false
  }

  /** Takes the segment out: from now on it is ENOENT to everybody. EACCES if it is another process's. */
  remove(group: GroupId, segid: bigint): { segment: Segment; holders: GroupId[] } {
    const segment = this.find(segid, 'remove')
    if (segment.owner !== group) fail('EACCES', 'remove', 'the segment belongs to another process')
    return this.#dropSegment(segid) as { segment: Segment; holders: GroupId[] }
  }

  #dropSegment(segid: bigint): { segment: Segment; holders: GroupId[] } | undefined {
    const record = this.#segments.get(segid)
    if (record === undefined) return undefined
    const { segment, holders } = record
    this.#segments.delete(segid)
    if (this.#order !== undefined && this.#order.length > 2 * this.#segments.size) this.#order = undefined
    if (segment.name !== '') this.#names.delete(segment.name)
    this.#forget(record.session, 'segments', segid)
    if (segment.origin === 'earlier') this.#removedAfterRestore.add(segid)
    return { segment, holders: [...(holders?.keys() ?? [])] }
  }

  /** The session has said goodbye: what it made is gone, and who must be told; its permits are released. */
  endSession(session: SessionId): { segment: Segment; holders: GroupId[] }[] {
    const record = this.#sessions.get(session)
    if (record === undefined) return []
    for (const apid of record.permits) this.#dropPermit(apid)
    const ended = [...record.segments].flatMap((segid) => this.#dropSegment(segid) ?? [])
    this.#sessions.delete(session)
    this.#sessionsOf.get(record.group)?.delete(session)
    return ended
  }

  /** Whether anything hangs on the process. */
  hasSessions(group: GroupId): boolean {
    return (this.#sessionsOf.get(group)?.size ?? 0) > 0
  }

  /** Keeps a session whose connection closed only as long as something hangs on it. */
  leaveSession(session: SessionId): void {
    const record = this.#sessions.get(session)
    if (record === undefined) return
    record.left = true
    if (record.segments.size === 0 && record.permits.size === 0) this.endSession(session)
  }

  #forget(session: SessionId, kind: 'segments' | 'permits', id: bigint): void {
    const record = this.#sessions.get(session)
    record?.[kind].delete(id)
    if (record?.left) this.leaveSession(session)
  }

  /** The process is gone. */
  endGroup(group: GroupId): { segment: Segment; holders: GroupId[] }[] {
    const ended = [...(this.#sessionsOf.get(group) ?? [])].flatMap((session) => this.endSession(session))
    this.#sessionsOf.delete(group)
    for (const { holders } of this.#segments.values()) holders?.delete(group)
    this.#awaited.forget(group)
    return ended.map(({ segment, holders }) => ({ segment, holders: holders.filter((holder) => holder !== group) }))
  }

  /** The segments with a larger identifier, oldest first. */
  *segmentsAfter(cursor: bigint): Generator<Segment> {
    this.#order ??= [...this.#segments.keys()].sort((a, b) => (a < b ? -1 : 1))
    const order = this.#order
    for (let index = countFirst(order, (segid) => segid <= cursor); index < order.length; index += 1) {
      const record = this.#segments.get(order[index] as bigint)
      if (record !== undefined) yield record.segment
    }
  }

  /** How many permits are held on a segment. */
  permitCount(segid: bigint): number {
    return this.#permitCounts.get(segid) ?? 0
  }

  /** The session that made a segment. */
  sessionOf(segid: bigint): SessionId | undefined {
    return this.#segments.get(segid)?.session
  }

  /** Processes that hold descriptors of a segment. */
  holdersOf(segid: bigint): GroupId[] {
    return [...(this.#segments.get(segid)?.holders?.keys() ?? [])]
  }

  /** Processes that hold descriptors of any segment. */
  holders(): Set<GroupId> {
    const all = new Set<GroupId>()
    for (const { holders } of this.#segments.values()) for (const holder of holders?.keys() ?? []) all.add(holder)
    return all
  }

  #session(session: SessionId): SessionRecord {
    const record = this.#sessions.get(session)
    if (record === undefined) throw new Error(`session ${session} was not opened`)
    return record
  }

  #requireRoom(group: GroupId, kind: 'segments' | 'permits', limit: number, call: string): void {
    let count = 0
    for (const session of this.#sessionsOf.get(group) ?? []) count += this.#sessions.get(session)?.[kind].size ?? 0
    if (count >= limit) fail('EMFILE', call, `this process has ${limit} ${kind}, which is the most one may have`)
  }
}
