import { EventEmitter } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { asXpmemError, type ErrorCode, XpmemError } from '../errors.js'
import { checkId, type PermitId, parseId, type SegmentId } from '../ids.js'
import { kernel } from '../kernel/index.js'
import { type RuntimePaths, runtimePaths } from '../runtime-directory.js'
import type { PartitionInfo } from '../wire/partition-info.js'
import { access, unknownAge } from '../wire/schema.js'
import type { SegmentInfo } from '../wire/segment-info.js'
import { Agent } from './agent.js'
import { Attaching, type AttachOptions } from './attaching.js'
import { Attachment } from './attachment.js'
import { publish } from './diagnostics.js'
import { OwnPermits } from './own-permits.js'
import { OwnSegments } from './own-segments.js'
import { type Access, Permit } from './permit.js'
import { Segment } from './segment.js'
import { Session } from './session.js'
import { type MemorySource, resolveSource } from './source.js'

export interface OpenOptions {
  /** The partition's name; $XPMEM_PARTITION, else 'default'. */
  readonly partition?: string
  /** Where its service's socket lies; $XPMEM_RUNTIME_DIR, else the user's default. */
  readonly runtimeDir?: string
  /** Whether to start the service if there is none. True unless said otherwise. */
  readonly autoStart?: boolean
}

export interface MakeOptions {
  /** Permission bits, checked as those of System V IPC are. 0o600 unless said otherwise. */
  readonly mode?: number
  /** Unique in the partition. */
  readonly name?: string
  /** How many bytes mean something, told to those who get the segment. All, unless said otherwise. */
  readonly dataLength?: number
}

export interface AllocateOptions {
  /** Asks for transparent huge pages (MADV_HUGEPAGE); `xpmem doctor` says whether the machine gives them. */
  readonly hugePages?: boolean
}

export interface PartitionEvents {
  /** The service went away; mappings go on, calls wait for it to come back. */
  disconnected: []
  /** The service is back and knows this process's segments and permits again. */
  reconnected: []
  /**
   * A segment could not be made known to the service that came back: nobody can get it any more, and
   * why. It is as if it had been removed.
   */
  lost: [segid: SegmentId, why: XpmemError]
  /**
   * A partition that had pages of a segment of this thread's for writing is lost, or the service here
   * was killed: they have the content again that they had when it got them, or when it last sent it.
   * Of a service that was killed the next one tells, at the most once.
   */
  rolledBack: [segid: SegmentId, ranges: readonly RolledBackRange[]]
}

/** A range of a segment that has earlier content again. */
export interface RolledBackRange {
  /** Bytes from the start of the segment. */
  readonly offset: number
  readonly length: number
  /** How old that content is at the most; Infinity after the service here was killed, since nobody knows. */
  readonly ageMs: number
}

/** How long `close` waits for a service that is gone to come back and remove the segments. */
const closeWithoutServiceMs = 1_000

function fail(code: ErrorCode, call: string, message: string): never {
  throw new XpmemError(code, call, message)
}

/** A thread's connection to the XPMEM service of one partition: where memory is offered and got. */
export class Partition extends EventEmitter<PartitionEvents> {
  readonly #paths: RuntimePaths
  readonly #agent: Agent
  readonly #session: Session
  readonly #segments: OwnSegments
  readonly #permits: OwnPermits
  readonly #attaching: Attaching
  /** Releases permits that nothing refers to any more. */
  readonly #collected = new FinalizationRegistry<PermitId>((apid) => {
    this.#permitObjects.delete(apid)
    if (this.#permits.has(apid)) this.release(apid).catch(() => {})
  })
  /** One object a permit, so that an attachment by apid keeps the same one reachable. */
  readonly #permitObjects = new Map<bigint, WeakRef<Permit>>()
  readonly #making = new Set<Promise<unknown>>()
  #closing: Promise<void> | undefined

  private constructor(paths: RuntimePaths, agent: Agent, session: Session, segments: OwnSegments, permits: OwnPermits) {
    super()
    this.#paths = paths
    this.#agent = agent
    this.#session = session
    this.#segments = segments
    this.#permits = permits
    this.#attaching = new Attaching({
      agent: agent.handle,
      permits,
      send: session.request,
      calling: (call, work) => this.#calling(call, work),
    })
    session.on('disconnected', () => {
      publish('disconnected', () => ({ partition: paths.partition }))
      this.emit('disconnected')
    })
    session.on('rolledBack', ({ segid, rows }) => {
      const ranges = rows.map((row) => (row.ageMs === unknownAge ? { ...row, ageMs: Number.POSITIVE_INFINITY } : row))
      publish('rolledBack', () => ({ segid, ranges }))
      this.emit('rolledBack', segid as SegmentId, ranges)
    })
    session.on('reconnected', () => {
      publish('reconnected', () => ({ partition: paths.partition }))
      this.emit('reconnected')
    })
  }

  /**
   * Connects to the partition's service, starting it if there is none. ECONNREFUSED if it may not or
   * does not start, EACCES if its directory or socket is not this user's to use.
   *
   * An open partition keeps the process alive only while a call is under way or it offers a segment.
   */
  static async open(options: OpenOptions = {}): Promise<Partition> {
    const paths = runtimePaths(options, 'open')
    const agent = Agent.open(paths)
    const segments = new OwnSegments(agent.handle)
    const permits = new OwnPermits(agent.handle)
    let session: Session | undefined
    let partition: Partition | undefined
    try {
      session = await Session.open({
        paths,
        autoStart: options.autoStart ?? true,
        restore: async (send) => {
          const lost = await segments.restore(send)
          await permits.restore(send)
          for (const { segid, why } of lost) partition?.emit('lost', segid as SegmentId, why)
        },
      })
      await agent.whenConnected()
      partition = new Partition(paths, agent, session, segments, permits)
      return partition
    } catch (error) {
      session?.close()
      agent.close()
      throw asXpmemError(error, 'open')
    }
  }

  /** A fresh region with a view's bytes in it: what `make` asks for where memory is not page-aligned. */
  static copyOf(view: ArrayBufferLike | ArrayBufferView): ArrayBuffer {
    const bytes = ArrayBuffer.isView(view)
      ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
      : new Uint8Array(view)
    const region = allocateRegion(Math.max(bytes.length, 1), {})
    new Uint8Array(region).set(bytes)
    return region
  }

  /** The partition's name. */
  get name(): string {
    return this.#paths.partition
  }

  get runtimeDir(): string {
    return this.#paths.directory
  }

  get connected(): boolean {
    return this.#session.connected
  }

  /**
   * Fresh memory, zeroed, that can be shared as it is: page-aligned, `length` bytes rounded up to
   * whole pages. ENOMEM, or EFBIG if it is longer than an ArrayBuffer over foreign memory may be.
   */
  allocate(length: number, options: AllocateOptions = {}): ArrayBuffer {
    return allocateRegion(length, options)
  }

  /**
   * Offers memory. It stays where it is: memory that does not come from `allocate` is moved into
   * shared pages, live and in place, when somebody first attaches it. It must stay allocated until
   * the segment is removed; ArrayBuffers are kept, and cannot be transferred from now on.
   */
  async make(source: MemorySource, options: MakeOptions = {}): Promise<Segment> {
    const resolved = resolveSource(source)
    const { mode = 0o600, name = '', dataLength = resolved.length } = options
    if (!Number.isInteger(mode) || mode < 0 || mode > 0o777) fail('EINVAL', 'make', 'the mode is 0 to 0o777')
    if (!Number.isSafeInteger(dataLength) || dataLength < 0 || dataLength > resolved.length) {
      fail('EINVAL', 'make', `dataLength is 0 to the ${resolved.length} bytes of the memory`)
    }
    this.#requireOpen('make')
    const making = this.#segments.make(this.#session.request, { source: resolved, mode, name, dataLength })
    this.#making.add(making)
    const segid = await this.#calling('make', () => making.finally(() => this.#making.delete(making)))
    this.#updateKeepAlive()
    publish('make', () => ({ segid, name, length: resolved.length, mode }))
    return new Segment(this, {
      segid: segid as SegmentId,
      name: name === '' ? undefined : name,
      address: resolved.address,
      length: resolved.length,
      dataLength,
      mode,
    })
  }

  /**
   * A permit on a segment, by segid (bigint, or as hexadecimal text), by name, or by the name it has
   * in another partition, `partition/name`. ENOENT if there is none, EACCES if its mode does not allow
   * it, EHOSTUNREACH if its partition cannot be reached, which takes 3 s to find out at the most.
   */
  async get(segment: bigint | string, wanted: Access = 'read'): Promise<Permit> {
    const key = typeof segment === 'string' ? (parseId(segment) ?? segment) : segment
    if (key === '') fail('EINVAL', 'get', 'a name is not empty')
    if (wanted !== 'read' && wanted !== 'readwrite') fail('EINVAL', 'get', "the access is 'read' or 'readwrite'")
    const target = typeof key === 'string' ? { segid: 0n, text: key } : { segid: checkId(key, 'get', 'segid') }
    const facts = await this.#calling('get', () =>
      this.#permits.get(this.#session.request, { ...target, access: access[wanted] }),
    )
    const permit = new Permit(this, facts)
    this.#collected.register(permit, permit.apid)
    this.#permitObjects.set(permit.apid, new WeakRef(permit))
    publish('get', () => ({ ...facts }))
    return permit
  }

  /**
   * Maps memory with a permit of this process, which another of its threads may have got; that thread
   * must keep its `Permit` reachable, since a permit that nothing refers to is released.
   */
  async attach(apid: bigint, options: AttachOptions = {}): Promise<Attachment> {
    checkId(apid, 'attach', 'apid')
    const own = this.#permitObjects.get(apid)?.deref()
    if (own !== undefined) return this.attachWith(own, options)
    const facts = await this.#calling('attach', () => this.#permits.describe(this.#session.request, apid))
    return this.attachWith(new Permit(this, facts), options)
  }

  /** For `Permit.attach`. */
  attachWith(permit: Permit, options: AttachOptions): Promise<Attachment> {
    return this.#attaching.attach(permit, options)
  }

  /**
   * Detaches the attachment that the buffer, view or address lies in, whole. Nothing happens where
   * nothing is mapped or it is detached already; EINVAL for memory that is no attachment.
   */
  detach(where: bigint | ArrayBuffer | ArrayBufferView): void {
    const buffer = ArrayBuffer.isView(where) ? where.buffer : where
    const attachment = buffer instanceof ArrayBuffer ? Attachment.of(buffer) : undefined
    if (attachment !== undefined) return attachment.detach()
    try {
      detachAddress(typeof where === 'bigint' ? where : kernel.addressOf(where))
    } catch (error) {
      throw asXpmemError(error, 'detach')
    }
  }

  /** Gives a permit back; its attachments end. ENOENT if it is unknown or released, EACCES if another process's. */
  async release(apid: bigint): Promise<void> {
    checkId(apid, 'release', 'apid')
    if (this.#permits.has(apid)) this.#permits.forget(apid)
    this.#permitObjects.delete(apid)
    await this.#calling('release', () => this.#session.request('release', { apid }))
    kernel.grantClose(this.#agent.handle, apid)
    publish('release', () => ({ apid }))
  }

  /**
   * Takes a segment back: every attachment of it is revoked, and once this resolves nobody else can
   * read or write its memory. ENOENT if it is unknown or removed, EACCES if another process made it,
   * ETIMEDOUT if a process did not give it up and its memory could not be moved away from under it.
   */
  async remove(segid: bigint): Promise<void> {
    checkId(segid, 'remove', 'segid')
    try {
      await this.#calling('remove', () => this.#session.request('remove', { segid }))
    } finally {
      this.#segments.forget(segid)
      this.#updateKeepAlive()
    }
    publish('remove', () => ({ segid }))
  }

  /** Every segment of the partition, oldest first. */
  async list(): Promise<SegmentInfo[]> {
    return this.#calling('list', async () => {
      const all: SegmentInfo[] = []
      for (let cursor = 0n; ; ) {
        const { message } = await this.#session.request('list', { cursor })
        if (message.name !== 'listing') throw new Error(`the service answered a list with ${message.name}`)
        all.push(...(JSON.parse(message.text) as SegmentInfo[]))
        if (message.cursor === 0n) return all
        cursor = message.cursor
      }
    })
  }

  /** The other partitions that this one may speak with, and how it stands with each. */
  async partitions(): Promise<PartitionInfo[]> {
    return this.#calling('partitions', async () => {
      const { message } = await this.#session.request('partitions', {})
      if (message.name !== 'listing') throw new Error(`the service answered with ${message.name}`)
      return JSON.parse(message.text) as PartitionInfo[]
    })
  }

  /** Whether this thread made the segment and has not removed it. */
  offers(segid: bigint): boolean {
    return this.#segments.has(segid)
  }

  /** Whether this thread got the permit and has not released it. */
  holds(apid: bigint): boolean {
    return this.#permits.has(apid)
  }

  /**
   * Removes what this thread made, releases what it got, and disconnects. Harmless when it is closed.
   * Without a service, attachers elsewhere keep the memory until this process ends.
   */
  close(): Promise<void> {
    this.#closing ??= this.#end()
    return this.#closing
  }

  async #end(): Promise<void> {
    const ended = this.#removeAll()
    if (this.connected) await ended
    else await Promise.race([ended, sleep(closeWithoutServiceMs)])
    this.#permits.forgetAll()
    this.#segments.forgetAll()
    this.#session.close()
    this.#agent.close()
  }

  /** What is being made is waited for, so that none of it is left behind. */
  async #removeAll(): Promise<void> {
    await Promise.allSettled(this.#making)
    const segids = this.#segments.ids()
    await Promise.allSettled(segids.map((segid) => this.#session.request('remove', { segid })))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #updateKeepAlive(): void {
    this.#session.keepAlive = this.#segments.size > 0
  }

  #requireOpen(call: string): void {
    if (this.#closing !== undefined) fail('ECANCELED', call, 'the partition is closed')
  }

  /** Carries out a call; whatever it throws is an error of that call. */
  async #calling<T>(call: string, work: () => Promise<T>): Promise<T> {
    this.#requireOpen(call)
    try {
      return await work()
    } catch (error) {
      throw asXpmemError(error, call)
    }
  }
}

function detachAddress(address: bigint): void {
  if (address !== 0n) kernel.detach(address)
}

function allocateRegion(length: number, { hugePages = false }: AllocateOptions): ArrayBuffer {
  if (!Number.isSafeInteger(length) || length <= 0) fail('EINVAL', 'allocate', 'the length is more than 0 bytes')
  try {
    return kernel.allocate(Math.ceil(length / kernel.pageSize) * kernel.pageSize, hugePages)
  } catch (error) {
    throw asXpmemError(error, 'allocate')
  }
}
