import { openSync, rmSync } from 'node:fs'
import { totalmem } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { getHeapStatistics } from 'node:v8'
import { asXpmemError, XpmemError } from '../errors.js'
import { maxPartitionId } from '../ids.js'
import { kernel, type Peer, type Poll } from '../kernel/index.js'
import { Budget } from '../pager/budget.js'
import type { RolledBack } from '../pager/home-file.js'
import { Homes, type PagingOptions } from '../pager/homes.js'
import { Pagers } from '../pager/pagers.js'
import { Partitions, type PartitionsOptions } from '../partitions/partitions.js'
import { ensureRuntimeDirectory, type RuntimePaths } from '../runtime-directory.js'
import type { Channel } from '../transport/channel.js'
import { closeAll } from '../transport/descriptor.js'
import type { Message } from '../wire/codec.js'
import { reason } from '../wire/schema.js'
import type { Address } from '../xpc/directory.js'
import { Allowance } from './allowance.js'
import { type Client, Connection, type ConnectionHost } from './connection.js'
import { Groups, type ThreadGroup } from './groups.js'
import { IdSource } from './identity.js'
import { maxOpenFiles } from './processes.js'
import { Registry, type Segment } from './registry.js'
import { Requests } from './requests.js'
import { Revoker } from './revoker.js'
import type { SegmentMemory } from './segment-memory.js'
import { Snapshots } from './snapshots.js'
import { Strangers } from './strangers.js'
import { loadKey, Tokens } from './tokens.js'
import { Trimmer } from './trimmer.js'
import { Unconnected } from './unconnected.js'

export interface ServiceOptions {
  readonly paths: RuntimePaths
  /** The partition's number, 1 to 4095, part of its identifiers. */
  readonly partitionId: number
  /** Leaves after this long without clients; never if undefined. */
  readonly idleExitMs?: number | undefined
  /** The partitions that this one may speak with. None if undefined. */
  readonly partitions?: PartitionsOptions | undefined
  readonly paging?: PagingSettings | undefined
  /** Called once when the service has closed by itself. */
  onIdle?(): void
}

/** Heartbeats of a service without partitions, which sends none. */
const noPartitions: PartitionsOptions = { peers: [], trusted: [], heartbeatMs: 1_000 }

/** How memory of other partitions, and that which they use here, is paged. */
export interface PagingSettings {
  /** How long a page that a thread just got is kept before others get it. Milliseconds. */
  readonly holdMs: number
  /** How often changed pages are sent home. */
  readonly flushMs: number
  /** Memory that copies of far pages may take, all together. */
  readonly cacheBytes: number
}

export const defaultPaging: PagingSettings = { holdMs: 0.2, flushMs: 100, cacheBytes: Math.floor(totalmem() / 4) }

const nowMs = () => performance.now()

/** Rows of one `rolledBack`. */
const maxRollbackRows = 1_024

/** How long an agent may take to answer. */
const agentTimeoutMs = 2_000

/** How long processes of an earlier service may take to come back. Clients try again every second at the least. */
const recoveryMs = 2_000

/** Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn. */
const backlog = 1_024

/** Connections accepted before those that there are have their turn. */
const acceptsPerTurn = 16

/** Connections one process may have: one for each thread that uses xpmem, and its agent's. */
const maxConnectionsPerGroup = 256

/** Rows of `held` that an agent may send after its hello. */
const maxHeldRows = 65_536

/** Processes that an agent may name as owners, beside those that are connected: each takes a pidfd. */
const maxAwaitedOwners = 256

/** Pieces that the memory of one process's segments may lie in. */
const maxExtentsPerGroup = 262_144

/**
 * Bytes of V8's heap for each permit, piece of memory and segment that there may be, several times
 * what one takes, so that many processes together do not end the service.
 */
const heapBytesPer = { permit: 1_024, extent: 1_024, segment: 8_192 }

/**
 * What the service's descriptors go to: up to half for connections, pidfds, mappings that are looked at and what waits to be closed, up to 3/8 for memfds,
 * which take two each, and up to a quarter for those of one process. The rest stays free, so that a
 * message never comes without its descriptors. And how many there may be of what takes memory.
 */
function limitsOf(openFiles: number, heapBytes: number) {
  const filesPerGroup = Math.floor(openFiles / 8)
  const permits = Math.floor(heapBytes / heapBytesPer.permit)
  return {
    segmentsPerGroup: Math.min(65_536, filesPerGroup),
    permitsPerGroup: Math.min(1_048_576, Math.floor(permits / 4)),
    segments: Math.floor(heapBytes / heapBytesPer.segment),
    permits,
    extents: Math.floor(heapBytes / heapBytesPer.extent),
    connections: Math.floor(openFiles / 2),
    files: Math.floor((openFiles * 3) / 16),
    filesPerGroup,
  }
}

/** The XPMEM service of a partition. */
export class Service implements ConnectionHost {
  readonly #options: ServiceOptions
  readonly #lock: number
  readonly #listener: number
  readonly #poll: Poll
  readonly #ids: IdSource
  readonly #registry: Registry
  readonly #groups: Groups
  readonly #revoker: Revoker
  readonly #requests: Requests
  readonly #memories = new Map<bigint, SegmentMemory>()
  readonly #trimmer: Trimmer
  readonly #pagers = new Pagers(agentTimeoutMs)
  readonly #paging: PagingOptions
  readonly #homes: Homes
  readonly #snapshots: Snapshots
  readonly #partitions: Partitions
  readonly #connections = new Set<Connection>()
  readonly #maxConnections: number
  readonly #unconnected = new Unconnected((group) => this.#groups.end(group))
  readonly strangers = new Strangers((group) => {
    for (const connection of this.#connections) if (connection.group === group) connection.readOrPause()
  })
  /** Segments whose owners live but have not come back yet, by owner. */
  readonly #awaitedOf = new Map<ThreadGroup, Set<bigint>>()
  /** What each agent has told since its hello, so that none can tell without end. */
  readonly #told = new Map<ThreadGroup, { rows: number; owners: Set<ThreadGroup> }>()
  readonly #startedMs = Date.now()
  #recovering: boolean
  readonly #recovery: Promise<void>
  readonly #closing = new AbortController()
  #nextSession = 1
  #idleTimer: NodeJS.Timeout | undefined
  /** Given up for a moment when descriptors run out, so that a connection can be accepted and refused. */
  #spare: number

  /** Throws EBUSY if the partition has a service. */
  constructor(options: ServiceOptions) {
    const { paths, partitionId } = options
    this.#options = options
    if (!Number.isInteger(partitionId) || partitionId < 1 || partitionId > maxPartitionId) {
      throw new XpmemError('EINVAL', 'serve', `a partition's number is 1 to ${maxPartitionId}`)
    }
    ensureRuntimeDirectory(paths, 'serve')
    this.#lock = kernel.lockFile(paths.lock)
    if (this.#lock < 0) {
      throw new XpmemError(
        'EBUSY',
        'serve',
        `partition '${paths.partition}' has a service already, in ${paths.directory}`,
      )
    }
    this.#ids = new IdSource(paths.incarnation, partitionId, Date.now)
    const limits = limitsOf(maxOpenFiles(), getHeapStatistics().heap_size_limit)
    this.#maxConnections = limits.connections
    this.#registry = new Registry(() => this.#ids.next(), limits)
    const files = new Allowance(limits.files)
    const extents = new Allowance(limits.extents)
    const allowance = () => ({
      files: new Allowance(limits.filesPerGroup, files),
      extents: new Allowance(maxExtentsPerGroup, extents),
    })
    this.#groups = new Groups(
      allowance,
      () => this.#seatsTaken() < this.#maxConnections,
      (group) => this.#groupGone(group),
    )
    const { holdMs, flushMs, cacheBytes } = options.paging ?? defaultPaging
    this.#paging = { holdMs, flushMs, budget: new Budget(cacheBytes) }
    this.#homes = this.#createHomes()
    this.#snapshots = new Snapshots({
      groups: this.#groups,
      homes: this.#homes,
      agentTimeoutMs,
      nowMs,
      shared: () => this.#trimmer.wake(),
    })
    this.#partitions = this.#createPartitions()
    this.#revoker = new Revoker({
      groups: this.#groups,
      partitions: this.#partitions,
      agentTimeoutMs,
      cutOff: (group) => this.#cutOff(group),
    })
    this.#trimmer = new Trimmer({ groups: this.#groups, agentTimeoutMs, movable: () => this.#movable() })
    this.#recovering = this.#ids.hasSurvivors
    this.#recovery = this.#recover()
    this.#requests = this.#createRequests(new Tokens(loadKey(paths.key)))
    rmSync(paths.socket, { force: true })
    this.#listener = kernel.listen(paths.socket, backlog)
    this.#spare = openSync('/dev/null', 'r')
    this.#poll = kernel.poll(this.#listener, () => this.#accept())
    this.#poll.ref()
    this.#poll.start(1)
    this.#watchIdle()
  }

  #createHomes(): Homes {
    return new Homes(
      {
        groups: this.#groups,
        pagers: this.#pagers,
        usersOf: (identity) => this.#usersOf(identity),
        rolledBack: (identity, pages) => this.#tellRolledBack(identity, pages),
      },
      this.#paging,
    )
  }

  /** Tells owners which of their memory has earlier content again. */
  #tellRolledBack(identity: string, pages: readonly RolledBack[]): void {
    for (const [segid, memory] of this.#memories) {
      const rows = memory.rolledBack(identity, pages)
      if (rows.length === 0 || !this.#registry.has(segid)) continue
      const session = this.#registry.sessionOf(segid)
      const connection = [...this.#connections].find((one) => one.session === session)
      for (let at = 0; at < rows.length; at += maxRollbackRows) {
        connection?.channel.send('rolledBack', 0, { segid, rows: rows.slice(at, at + maxRollbackRows) })
      }
    }
  }

  /** Every process that may have mapped some of a file: the owners of segments that lie in it, and the holders. */
  *#usersOf(identity: string): Generator<ThreadGroup> {
    const seen = new Set<number>()
    for (const [segid, memory] of this.#memories) {
      if (!memory.hasFile(identity) || !this.#registry.has(segid)) continue
      const { owner } = this.#registry.find(segid, 'attach')
      for (const id of [owner, ...this.#registry.holdersOf(segid)]) {
        const group = this.#groups.get(id)
        if (group === undefined || seen.has(id)) continue
        seen.add(id)
        yield group
      }
    }
  }

  #createPartitions(): Partitions {
    const { paths, partitionId, partitions } = this.#options
    return new Partitions(partitions ?? noPartitions, {
      name: paths.partition,
      partitionId,
      registry: this.#registry,
      groups: this.#groups,
      memories: this.#memories,
      homes: this.#homes,
      snapshots: this.#snapshots,
      pagers: this.#pagers,
      paging: this.#paging,
      agentTimeoutMs,
      nowMs,
      shared: () => this.#trimmer.wake(),
      incarnation: () => this.#ids.incarnation,
      nextSession: () => this.#takeSession(),
      recovered: () => this.#recovery,
      ended: (segment, holders, why) => this.#end(segment, holders, why),
    })
  }

  /** Listens for other partitions and connects to them. Resolves to where it listens. */
  async join(): Promise<Address | undefined> {
    return this.#partitions.start()
  }

  #createRequests(tokens: Tokens): Requests {
    const service = this
    return new Requests({
      registry: this.#registry,
      groups: this.#groups,
      tokens,
      ids: this.#ids,
      revoker: this.#revoker,
      partitions: this.#partitions,
      homes: this.#homes,
      snapshots: this.#snapshots,
      pagers: this.#pagers,
      partitionName: this.#options.paths.partition,
      partitionId: this.#options.partitionId,
      memories: this.#memories,
      agentTimeoutMs,
      nowMs,
      shared: () => this.#trimmer.wake(),
      recovered: () => this.#recovery,
      get recovering() {
        return service.#recovering
      },
    })
  }

  *#movable() {
    for (const [segid, memory] of this.#memories) {
      if (memory.stable || !memory.hasFiles || !this.#registry.has(segid)) continue
      yield { segment: this.#registry.find(segid, 'trim'), memory }
    }
  }

  async #recover(): Promise<void> {
    if (this.#recovering)
      await sleep(recoveryMs, undefined, { ref: false, signal: this.#closing.signal }).catch(() => {})
    this.#recovering = false
  }

  /**
   * Closes everything. Mappings go on; clients look for another service. Memory of other partitions
   * is taken away from its holders before.
   */
  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    await this.#partitions.close()
    clearTimeout(this.#idleTimer)
    this.#poll.close()
    this.#trimmer.close()
    this.#unconnected.close()
    rmSync(this.#options.paths.socket, { force: true })
    kernel.close(this.#listener)
    const idle = this.#connections.size === 0 && this.#registry.segmentCount === 0
    for (const connection of [...this.#connections]) connection.close()
    this.#homes.close()
    this.#pagers.close()
    this.#groups.close()
    for (const memory of this.#memories.values()) memory.close()
    this.#memories.clear()
    this.strangers.close()
    if (idle) this.#ids.leaveIdle()
    kernel.close(this.#spare)
    kernel.close(this.#lock)
  }

  #accept(): void {
    for (let taken = 0; taken < acceptsPerTurn; taken += 1) {
      let socket: number
      try {
        socket = kernel.accept(this.#listener)
      } catch (error) {
        if (!this.#refuseForLackOfDescriptors(error)) return
        continue
      }
      if (socket < 0) return
      this.#open(socket)
    }
  }

  /** EMFILE leaves the connection waiting and the listener readable, so it is taken and closed. */
  #refuseForLackOfDescriptors(error: unknown): boolean {
    if (asXpmemError(error, 'accept').code !== 'EMFILE') return false
    kernel.close(this.#spare)
    const socket = kernel.accept(this.#listener)
    if (socket >= 0) this.strangers.closeSocket(socket, undefined)
    this.#spare = openSync('/dev/null', 'r')
    return socket >= 0
  }

  #open(socket: number): void {
    const session = this.#takeSession()
    let connection: Connection
    try {
      connection = new Connection(socket, session, this)
    } catch {
      this.strangers.closeSocket(socket, undefined)
      return
    }
    this.#connections.add(connection)
    clearTimeout(this.#idleTimer)
    connection.group.connections += 1
    if (connection.group.connections > maxConnectionsPerGroup) {
      const why = `this process has ${maxConnectionsPerGroup} connections, which is the most one may have`
      connection.refuse(0, new XpmemError('EMFILE', 'hello', why))
    } else if (this.#seatsTaken() > this.#maxConnections) {
      const why = 'the service has as many connections as its open-file limit allows: raise it (ulimit -n)'
      connection.refuse(0, new XpmemError('EMFILE', 'hello', why))
    }
  }

  #takeSession(): number {
    const session = this.#nextSession
    this.#nextSession += 1
    return session
  }

  /** Descriptors that go to connections and the processes behind them. */
  #seatsTaken(): number {
    return this.#connections.size + this.#groups.descriptorCount + this.strangers.waiting
  }

  admit(peer: Peer): ThreadGroup {
    return this.#groups.ofPeer(peer)
  }

  /** A process's descriptors of the library close at exec, and the program that comes then has another number. */
  identify(connection: Connection, image: bigint): void {
    const { group, session } = connection
    const known = group.image
    if (known === undefined || known.number === image) {
      group.image = { number: image, newest: Math.max(session, known?.newest ?? 0) }
      return
    }
    // Connections are accepted in the order in which they were made.
    if (session < known.newest) throw new XpmemError('ECANCELED', 'hello', 'an exec has ended the program that asks')
    if (group.running === true)
      throw new XpmemError('EEXIST', 'hello', 'this process uses xpmem already, by another copy of the library')
    this.#replace(group, { number: image, newest: session })
  }

  /** Another program runs in the process: what the one before it had ends. Its connections go along. */
  #replace(group: ThreadGroup, image: NonNullable<ThreadGroup['image']>): void {
    const next = this.#groups.succeed(group)
    if (next !== undefined) {
      next.image = image
      for (const connection of this.#connections)
        if (connection.group === group && !connection.greeted) connection.moveTo(next)
    }
    this.#groups.end(group)
    if (next === undefined) throw new XpmemError('ESRCH', 'hello', 'the process is gone')
  }

  welcome(channel: Channel, request: number): void {
    channel.send('welcome', request, {
      serviceStart: BigInt(this.#startedMs),
      partition: this.#options.partitionId,
      incarnation: this.#ids.incarnation,
      text: this.#options.paths.partition,
    })
  }

  openSession(client: Client): void {
    this.#registry.openSession(client.session, client.group.id)
  }

  handle(client: Client, message: Message, descriptors: number[]): Promise<void> | undefined {
    if (message.name !== 'goodbye') return this.#requests.handle(client, message, descriptors)
    closeAll(descriptors)
    for (const { segment, holders } of this.#registry.endSession(client.session)) {
      void this.#end(segment, holders, reason.removed)
    }
    this.#partitions.releaseEnded()
    this.#registry.openSession(client.session, client.group.id)
    return undefined
  }

  /** Which segments a process says it holds, after its agent connected. */
  held(group: ThreadGroup, message: Message & { name: 'held' }): void {
    const told = this.#told.get(group) ?? { rows: 0, owners: new Set() }
    this.#told.set(group, told)
    told.rows += message.rows.length
    if (told.rows > maxHeldRows)
      throw new XpmemError('EPROTO', 'held', 'the agent tells of more segments than there can be')
    const gone: bigint[] = []
    for (const { segid, ownerPid, ownerStart } of message.rows) {
      const state = this.#registry.heldElsewhere(group.id, segid, this.#ids.incarnation)
      if (state === 'gone') gone.push(segid)
      if (state !== 'awaited') continue
      const owner = this.#groups.ofPid(ownerPid, ownerStart)
      if (owner?.connections === 0) told.owners.add(owner)
      if (told.owners.size > maxAwaitedOwners)
        throw new XpmemError('EPROTO', 'held', 'the agent tells of too many owners')
      this.#await(segid, owner)
    }
    void this.#tellGone(group, gone)
  }

  /** One after the other: an agent may tell of many, and read none of the answers. */
  async #tellGone(group: ThreadGroup, segids: readonly bigint[]): Promise<void> {
    const { agent } = group
    for (const segid of segids) {
      // One that comes back tells again what it holds.
      if (agent === undefined || group.agent !== agent) return
      await this.#revoker.revoke(segid, [group.id], reason.removed)
    }
  }

  #await(segid: bigint, owner: ThreadGroup | undefined): void {
    if (owner === undefined) {
      void this.#revoker.ownerGone(segid, this.#registry.giveUpAwaited(segid))
      return
    }
    const awaited = this.#awaitedOf.get(owner) ?? new Set()
    this.#awaitedOf.set(owner, awaited.add(segid))
  }

  /** Segments that nobody waits for any more, since who held them has gone, are not waited for. */
  #pruneAwaited(): void {
    for (const [owner, segids] of this.#awaitedOf) {
      for (const segid of segids) if (!this.#registry.isAwaited(segid)) segids.delete(segid)
      if (segids.size > 0) continue
      this.#awaitedOf.delete(owner)
      this.#forgetIfIdle(owner)
    }
  }

  #forgetIfIdle(group: ThreadGroup): void {
    if (group.connections > 0 || this.#registry.hasSessions(group.id) || this.#awaitedOf.has(group)) return
    this.#registry.endGroup(group.id)
    this.#groups.forget(group)
    this.#pruneAwaited()
  }

  closed(connection: Connection): void {
    if (!this.#connections.delete(connection)) return
    const { group } = connection
    group.connections -= 1
    this.#registry.leaveSession(connection.session)
    this.#partitions.releaseEnded()
    if (group.agent === undefined) this.#told.delete(group)
    if (group.agent === undefined) this.#forgetPaging(group)
    this.#forgetIfIdle(group)
    this.#unconnected.look(group)
    this.#watchIdle()
  }

  agentConnected(group: ThreadGroup): void {
    void this.#homes.connected(group)
  }

  #forgetPaging(group: ThreadGroup): void {
    this.#homes.forget(group)
    this.#pagers.forget(group)
  }

  #cutOff(group: ThreadGroup): void {
    for (const connection of [...this.#connections]) if (connection.group === group) connection.close()
  }

  #groupGone(group: ThreadGroup): void {
    this.#cutOff(group)
    for (const { segment, holders } of this.#registry.endGroup(group.id)) {
      void this.#end(segment, holders, reason.ownerExit)
    }
    this.#partitions.releaseEnded()
    for (const segid of this.#awaitedOf.get(group) ?? []) {
      void this.#revoker.ownerGone(segid, this.#registry.giveUpAwaited(segid))
    }
    this.#awaitedOf.delete(group)
    this.#pruneAwaited()
    this.#watchIdle()
  }

  async #end(segment: Segment, holders: readonly number[], why: number): Promise<void> {
    this.#memories.get(segment.segid)?.close()
    this.#memories.delete(segment.segid)
    await this.#revoker.revoke(segment.segid, holders, why)
  }

  #watchIdle(): void {
    clearTimeout(this.#idleTimer)
    const { idleExitMs, onIdle } = this.#options
    if (idleExitMs === undefined || this.#closing.signal.aborted) return
    if (this.#connections.size > 0 || this.#registry.segmentCount > 0) return
    this.#idleTimer = setTimeout(() => {
      void this.close().then(onIdle)
    }, idleExitMs)
  }
}
