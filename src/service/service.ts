import { openSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { getHeapStatistics } from 'node:v8'
import { asXpmemError, XpmemError } from '../errors.js'
import { maxPartitionId } from '../ids.js'
import { kernel, type Peer, type Poll } from '../kernel/index.js'
import { ensureRuntimeDirectory, type RuntimePaths } from '../runtime-directory.js'
import type { Channel } from '../transport/channel.js'
import { closeAll } from '../transport/descriptor.js'
import type { Message } from '../wire/codec.js'
import { reason } from '../wire/schema.js'
import type { Address } from '../xpc/directory.js'
import { Awaited } from './awaited.js'
import { type Client, Connection, type ConnectionHost } from './connection.js'
import { Far, type FarOptions } from './far.js'
import { Groups, type ThreadGroup } from './groups.js'
import { IdSource } from './identity.js'
import { allowances, limitsOf } from './limits.js'
import { maxOpenFiles } from './processes.js'
import { Registry, type Segment } from './registry.js'
import { Requests } from './requests.js'
import { Revoker } from './revoker.js'
import type { SegmentMemory } from './segment-memory.js'
import { Strangers } from './strangers.js'
import { loadKey, Tokens } from './tokens.js'
import { Trimmer } from './trimmer.js'
import { Unconnected } from './unconnected.js'

export interface ServiceOptions extends FarOptions {
  readonly paths: RuntimePaths
  /** The partition's number, 1 to 4095, part of its identifiers. */
  readonly partitionId: number
  /** Leaves after this long without clients; never if undefined. */
  readonly idleExitMs?: number | undefined
  /** Called once when the service has closed by itself. */
  onIdle?(): void
}

const nowMs = () => performance.now()

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
  readonly #awaited: Awaited
  readonly #trimmer: Trimmer
  readonly #far: Far
  readonly #connections = new Set<Connection>()
  readonly #maxConnections: number
  readonly #unconnected = new Unconnected((group) => this.#groups.end(group))
  readonly strangers = new Strangers((group) => {
    for (const connection of this.#connections) if (connection.group === group) connection.readOrPause()
  })
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
    this.#groups = new Groups(
      allowances(limits),
      () => this.#seatsTaken() < this.#maxConnections,
      (group) => this.#groupGone(group),
    )
    this.#far = this.#createFar()
    this.#revoker = new Revoker({
      groups: this.#groups,
      partitions: this.#far.partitions,
      agentTimeoutMs,
      cutOff: (group) => this.#cutOff(group),
    })
    this.#awaited = new Awaited({
      registry: this.#registry,
      groups: this.#groups,
      revoker: this.#revoker,
      incarnation: () => this.#ids.incarnation,
      unawaited: (group) => this.#forgetIfIdle(group),
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

  #createFar(): Far {
    return new Far(this.#options, {
      name: this.#options.paths.partition,
      partitionId: this.#options.partitionId,
      registry: this.#registry,
      groups: this.#groups,
      memories: this.#memories,
      agentTimeoutMs,
      nowMs,
      shared: () => this.#trimmer.wake(),
      incarnation: () => this.#ids.incarnation,
      nextSession: () => this.#takeSession(),
      recovered: () => this.#recovery,
      ended: (segment, holders, why) => this.#end(segment, holders, why),
      channelOf: (session) => [...this.#connections].find((one) => one.session === session)?.channel,
    })
  }

  /** Listens for other partitions and connects to them. Resolves to where it listens. */
  async join(): Promise<Address | undefined> {
    return this.#far.partitions.start()
  }

  #createRequests(tokens: Tokens): Requests {
    const service = this
    const { pagers, homes, snapshots, partitions, rollbacks } = this.#far
    return new Requests({
      registry: this.#registry,
      groups: this.#groups,
      tokens,
      ids: this.#ids,
      revoker: this.#revoker,
      pagers,
      homes,
      snapshots,
      partitions,
      rollbacks,
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
    await this.#far.partitions.close()
    clearTimeout(this.#idleTimer)
    this.#poll.close()
    this.#trimmer.close()
    this.#unconnected.close()
    rmSync(this.#options.paths.socket, { force: true })
    kernel.close(this.#listener)
    const idle = this.#connections.size === 0 && this.#registry.segmentCount === 0
    for (const connection of [...this.#connections]) connection.close()
    this.#far.close()
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
    this.#far.partitions.releaseEnded()
    this.#registry.openSession(client.session, client.group.id)
    return undefined
  }

  held(group: ThreadGroup, message: Message & { name: 'held' }): void {
    this.#awaited.held(group, message)
  }

  putBack(group: ThreadGroup, message: Message & { name: 'putBack' }): void {
    this.#far.rollbacks.putBack(group, message)
  }

  #forgetIfIdle(group: ThreadGroup): void {
    if (group.connections > 0 || this.#registry.hasSessions(group.id) || this.#awaited.has(group)) return
    this.#registry.endGroup(group.id)
    this.#groups.forget(group)
    this.#awaited.prune()
  }

  closed(connection: Connection): void {
    if (!this.#connections.delete(connection)) return
    const { group } = connection
    group.connections -= 1
    this.#registry.leaveSession(connection.session)
    this.#far.partitions.releaseEnded()
    if (group.agent === undefined) {
      this.#awaited.agentGone(group)
      this.#far.agentGone(group)
    }
    this.#forgetIfIdle(group)
    this.#unconnected.look(group)
    this.#watchIdle()
  }

  agentConnected(group: ThreadGroup): void {
    this.#far.agentConnected(group)
  }

  #cutOff(group: ThreadGroup): void {
    for (const connection of [...this.#connections]) if (connection.group === group) connection.close()
  }

  #groupGone(group: ThreadGroup): void {
    this.#cutOff(group)
    for (const { segment, holders } of this.#registry.endGroup(group.id)) {
      void this.#end(segment, holders, reason.ownerExit)
    }
    this.#far.partitions.releaseEnded()
    this.#awaited.ownerGone(group)
    this.#awaited.prune()
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
