import { asXpmemError, type ErrorCode, XpmemError } from '../errors.js'
import { isId, unpackId } from '../ids.js'
import { kernel } from '../kernel/index.js'
import type { Homes } from '../pager/homes.js'
import type { Pagers } from '../pager/pagers.js'
import { targetOf } from '../partitions/imports.js'
import type { Partitions } from '../partitions/partitions.js'
import { closeAll } from '../transport/descriptor.js'
import type { Message, MessageInput } from '../wire/codec.js'
import { access, attachFlag, gotFlag, type MessageName, makeFlag, reason } from '../wire/schema.js'
import type { Client } from './connection.js'
import type { Groups } from './groups.js'
import type { IdSource } from './identity.js'
import { collectHoldings, type Holdings, listingPage } from './listing.js'
import { PagingRequests } from './paging-requests.js'
import { type Credentials, modeAllows } from './permission.js'
import { hasIpcOwner } from './processes.js'
import type { Offer, Permit, Registry, Segment } from './registry.js'
import type { Revoker } from './revoker.js'
import { checkSealed, SegmentMemory } from './segment-memory.js'
import { checkRange, ensureShared, isCurrent, type Range } from './sharing.js'
import { maxSnapshotBytes, type Snapshots } from './snapshots.js'
import type { Tokens } from './tokens.js'

export interface RequestContext {
  readonly registry: Registry
  readonly groups: Groups
  readonly tokens: Tokens
  readonly ids: IdSource
  readonly revoker: Revoker
  readonly partitions: Partitions
  readonly homes: Homes
  readonly snapshots: Snapshots
  readonly pagers: Pagers
  readonly partitionName: string
  readonly partitionId: number
  readonly memories: Map<bigint, SegmentMemory>
  readonly agentTimeoutMs: number
  /** A clock that only goes forward. */
  nowMs(): number
  /** Memory was put into files that its owner may let go of. */
  shared(): void
  /** Resolves when the processes that an earlier service knew have had time to come back. */
  recovered(): Promise<void>
  readonly recovering: boolean
}

interface Offered {
  readonly offer: Offer
  readonly memory: SegmentMemory
}

type Reply = { [N in MessageName]: { name: N; input: MessageInput<N> } }[MessageName]

function reply<N extends MessageName>(name: N, input: MessageInput<N>): Reply {
  return { name, input } as Reply
}

function fail(code: ErrorCode, call: string, message: string): never {
  throw new XpmemError(code, call, message)
}

/** User addresses end here on every 64-bit Linux with 4-level tables or more; wider ones are not made by default. */
const maxAddress = 1n << 63n
const maxNameBytes = 255

/** A name is text without control characters and slashes that cannot be mistaken for an identifier. */
export function checkName(name: string, call: string): void {
  if (Buffer.byteLength(name) > maxNameBytes) fail('ENAMETOOLONG', call, `a name has ${maxNameBytes} bytes at the most`)
  if (/[\p{Cc}\p{Cs}/]/u.test(name)) fail('EINVAL', call, "a name has no control characters and no '/'")
  if (/^0x[0-9a-f]+$/i.test(name)) fail('EINVAL', call, 'a name must not look like an identifier')
}

/** The owner of a segment of another partition: no process that is known here. */
const elsewhere = { pid: 0, start: 0n } as const

/** Carries out the requests of control connections; one function a request. */
export class Requests {
  readonly #context: RequestContext
  readonly #paging: PagingRequests

  constructor(context: RequestContext) {
    this.#context = context
    this.#paging = new PagingRequests(context.pagers)
  }

  /** Answers now, or returns the work that will. Throws EPROTO where the peer is to be cut off. */
  handle(client: Client, message: Message, descriptors: number[]): Promise<void> | undefined {
    if (message.name === 'make') return this.#answerMake(client, message, descriptors)
    if (message.name === 'snapshot') {
      return this.#later(client, message, () => this.#snapshot(client, message, descriptors))
    }
    closeAll(descriptors)
    if (descriptors.length > 0) fail('EPROTO', message.name, 'no descriptors go with this request')
    switch (message.name) {
      case 'get':
        return this.#get(client, message)
      case 'attach':
        return this.#attach(client, message)
      case 'release':
        return this.#answer(client, message, () => this.#release(client, message))
      case 'remove':
        return this.#later(client, message, () => this.#remove(client, message))
      case 'describe':
        return this.#answer(client, message, () => this.#describe(client, message))
      case 'restore':
        return this.#answer(client, message, () => this.#restore(client, message))
      case 'mapped':
        return this.#answer(client, message, () => this.#mapped(client, message))
      case 'prefetch':
        return this.#later(client, message, async () => {
          await this.#paging.prefetch(client.group, message)
          return reply('done', {})
        })
      case 'flush':
        return this.#later(client, message, async () => {
          await this.#paging.flush(client.group, message)
          return reply('done', {})
        })
      case 'stats':
        return this.#answer(client, message, () => reply('counted', this.#paging.stats(client.group, message)))
      case 'partitions':
        return this.#answer(client, message, () =>
          reply('listing', { text: JSON.stringify(this.#context.partitions.list()) }),
        )
      case 'list':
        return this.#later(client, message, () => this.#list(client, message))
      case 'ping':
        return this.#answer(client, message, () => reply('done', {}))
      default:
        return fail('EPROTO', message.name, 'a client does not send this')
    }
  }

  #send(client: Client, request: number, answer: Reply): void {
    client.channel.send(answer.name, request, answer.input)
  }

  #sendFailure(client: Client, message: Message, thrown: unknown): void {
    const error = asXpmemError(thrown, message.name)
    client.channel.send('failure', message.request, { errno: error.errno, text: error.reason.slice(0, maxFailureText) })
  }

  #answer(client: Client, message: Message, work: () => Reply): undefined {
    try {
      this.#send(client, message.request, work())
    } catch (error) {
      this.#sendFailure(client, message, error)
    }
  }

  async #later(client: Client, message: Message, work: () => Promise<Reply>): Promise<void> {
    try {
      this.#send(client, message.request, await work())
    } catch (error) {
      this.#sendFailure(client, message, error)
    }
  }

  /** While owners are still coming back after a restart, 'not there' is not said before they had the time. */
  #answerAfterRecovery(client: Client, message: Message, work: () => Reply): Promise<void> | undefined {
    if (!this.#context.recovering) return this.#answer(client, message, work)
    return this.#later(client, message, async () => {
      try {
        return work()
      } catch (error) {
        if (asXpmemError(error, message.name).code !== 'ENOENT') throw error
        await this.#context.recovered()
        return work()
      }
    })
  }

  /** While owners are still coming back after a restart, their names are not given to others. */
  #answerMake(client: Client, message: Message & { name: 'make' }, descriptors: number[]): Promise<void> | undefined {
    if (!this.#context.recovering || message.segid !== 0n || message.text === '') {
      return this.#answer(client, message, () =>
        this.#make(client, message, this.#takeOffered(client, message, descriptors)),
      )
    }
    return this.#later(client, message, async () => {
      // Taken before the wait, so that what waits counts as the process's.
      const offered = this.#takeOffered(client, message, descriptors)
      await this.#context.recovered()
      return this.#make(client, message, offered)
    })
  }

  /** What is offered, checked, with the memory that came along. Takes the descriptors. */
  #takeOffered(client: Client, message: Message & { name: 'make' }, descriptors: number[]): Offered {
    const backed = (message.flags & makeFlag.backed) !== 0
    const memory = new SegmentMemory(client.group.allowance, backed)
    try {
      const offer = checkOffer(client.credentials, message)
      if (!backed && descriptors.length > 0) fail('EPROTO', 'make', 'descriptors came with memory that is in no file')
      if (backed) {
        const row = { offset: 0, length: message.length, fileOffset: message.fileOffset, descriptor: 0, flags: 0 }
        memory.accept({ offset: 0, length: message.length, holes: false }, [row], descriptors.splice(0))
      }
      return { offer, memory }
    } catch (error) {
      closeAll(descriptors)
      memory.close()
      throw error
    }
  }

  #make(client: Client, message: Message & { name: 'make' }, { offer, memory }: Offered): Reply {
    const { tokens, memories } = this.#context
    try {
      const segment = this.#register(client, message, offer)
      if (memories.has(segment.segid)) memory.close()
      else memories.set(segment.segid, memory)
      const token = tokens.sign('segment', segmentFacts(segment.segid, client))
      return reply('made', { segid: segment.segid, tokenHigh: token.high, tokenLow: token.low })
    } catch (error) {
      memory.close()
      throw error
    }
  }

  #register(client: Client, message: Message & { name: 'make' }, offer: Offer): Segment {
    const { registry, tokens, ids } = this.#context
    if (message.segid === 0n) return registry.make(client.session, offer)
    const facts = segmentFacts(message.segid, client)
    if (!tokens.verify({ high: message.tokenHigh, low: message.tokenLow }, 'segment', facts)) {
      fail('EACCES', 'make', 'this service never gave the segid to this process')
    }
    if (!registry.has(message.segid) && unpackId(message.segid).incarnation === ids.incarnation) {
      fail('ENOENT', 'make', 'the segment was removed')
    }
    return registry.restoreSegment(client.session, message.segid, offer)
  }

  #get(client: Client, message: Message & { name: 'get' }): Promise<void> | undefined {
    const { partitions, partitionName, partitionId } = this.#context
    const key = message.segid === 0n ? message.text : message.segid
    try {
      if (message.access !== access.read && message.access !== access.readwrite) {
        fail('EINVAL', 'get', "the access is 'read' or 'readwrite'")
      }
      if (key === '') fail('EINVAL', 'get', '0 is not a segid')
      if (typeof key === 'bigint' && !isId(key)) fail('EINVAL', 'get', 'a segid is positive')
    } catch (error) {
      this.#sendFailure(client, message, error)
      return undefined
    }
    const target = targetOf(key, partitionName, partitionId)
    if (target.where === 'here') {
      return this.#answerAfterRecovery(client, message, () => this.#getHere(client, message, target.key))
    }
    return this.#later(client, message, async () => {
      const { permit, segment } = await partitions.get(client, target, message.access)
      return this.#got(client, permit, segment)
    })
  }

  #getHere(client: Client, message: Message & { name: 'get' }, key: bigint | string): Reply {
    const { registry } = this.#context
    const segment = registry.find(key, 'get')
    if (
      !modeAllows(client.credentials, segment, message.access) &&
      !hasIpcOwner(client.group.pid, client.credentials.uid)
    ) {
      const wanted = message.access === access.read ? 'reading' : 'writing'
      fail(
        'EACCES',
        'get',
        `the segment's mode ${segment.mode.toString(8).padStart(4, '0')} does not allow ${wanted} to uid ${client.credentials.uid}`,
      )
    }
    return this.#got(client, registry.grant(client.session, segment.segid, message.access), segment)
  }

  #got(client: Client, permit: Permit, segment: Segment): Reply {
    const owner = segment.origin === 'elsewhere' ? elsewhere : this.#context.groups.get(segment.owner)
    if (owner === undefined) fail('ENOENT', 'get', "the segment's owner is gone")
    const token = this.#context.tokens.sign('permit', permitFacts(permit, client, owner.pid, owner.start))
    return reply('got', {
      apid: permit.apid,
      segid: segment.segid,
      tokenHigh: token.high,
      tokenLow: token.low,
      length: segment.length,
      dataLength: segment.dataLength,
      ownerStart: owner.start,
      ownerPid: owner.pid,
      access: permit.access,
      flags: this.#isStable(segment) ? gotFlag.stable : 0,
    })
  }

  #isStable({ segid, origin }: Segment): boolean {
    const { memories, partitions } = this.#context
    return origin === 'elsewhere' ? partitions.isStable(segid) : memories.get(segid)?.stable === true
  }

  #describe(client: Client, message: Message & { name: 'describe' }): Reply {
    const { registry } = this.#context
    if (!isId(message.apid)) fail('EINVAL', 'attach', 'an apid is positive')
    const permit = registry.permit(client.group.id, message.apid, 'attach')
    return this.#got(client, permit, registry.find(permit.segid, 'attach'))
  }

  #restore(client: Client, message: Message & { name: 'restore' }): Reply {
    const { registry, tokens, groups, ids } = this.#context
    const permit = { apid: message.apid, segid: message.segid, access: message.access, holder: client.group.id }
    const facts = permitFacts(permit, client, message.ownerPid, message.ownerStart)
    if (!tokens.verify({ high: message.tokenHigh, low: message.tokenLow }, 'permit', facts)) {
      fail('EACCES', 'restore', 'this service never gave the apid to this process')
    }
    if (unpackId(message.apid).incarnation === ids.incarnation && !registry.hasPermit(message.apid)) {
      fail('ENOENT', 'restore', 'the permit was released')
    }
    if (!registry.has(message.segid) && groups.ofPid(message.ownerPid, message.ownerStart) === undefined) {
      fail('ENOENT', 'restore', "the segment's owner is gone")
    }
    registry.restorePermit(client.session, message.apid, message.segid, message.access)
    return reply('done', {})
  }

  #attach(client: Client, message: Message & { name: 'attach' }): Promise<void> | undefined {
    const { partitions } = this.#context
    if (partitions.isImported(message.apid)) return this.#attachFar(client, message)
    try {
      const { permit, segment, memory } = this.#attachable(client, message)
      const ready = client.group.agent !== undefined && this.#isReady(client, permit, segment, memory, rangeOf(message))
      if (!ready) return this.#attachLater(client, message, segment, memory)
      this.#sendExtents(client, message)
    } catch (error) {
      if (this.#context.recovering && asXpmemError(error, 'attach').code === 'ENOENT') {
        return this.#attachRecovered(client, message)
      }
      this.#sendFailure(client, message, error)
    }
    return undefined
  }

  /** Of a segment of another partition: what this one has a copy of. */
  async #attachFar(client: Client, message: Message & { name: 'attach' }): Promise<void> {
    const { registry, partitions } = this.#context
    try {
      const permit = registry.permit(client.group.id, message.apid, 'attach')
      const segment = registry.find(permit.segid, 'attach')
      checkRange(segment, message.offset, message.length)
      const { rows, descriptors } = await partitions.attach(client, permit, rangeOf(message))
      // The segment may have ended while its home was asked.
      registry.hold(client.group.id, segment.segid, permit.apid)
      client.channel.send('extents', message.request, { rows }, descriptors)
    } catch (error) {
      this.#sendFailure(client, message, error)
    }
  }

  async #snapshot(client: Client, message: Message & { name: 'snapshot' }, descriptors: number[]): Promise<Reply> {
    const { registry, partitions } = this.#context
    const { offset, length } = message
    try {
      const into = checkSnapshotFile(descriptors, length)
      const permit = registry.permit(client.group.id, message.apid, 'attach')
      const segment = registry.find(permit.segid, 'attach')
      checkRange(segment, offset, length)
      registry.hold(client.group.id, segment.segid, permit.apid)
      if (partitions.isImported(permit.apid)) await partitions.snapshot(permit, { offset, length, holes: true }, into)
      else await this.#copy(client, segment, { offset, length }, into)
      return reply('done', {})
    } finally {
      closeAll(descriptors)
    }
  }

  async #copy(client: Client, segment: Segment, { offset, length }: Omit<Range, 'holes'>, into: number): Promise<void> {
    const memory = this.#context.memories.get(segment.segid)
    if (memory === undefined) return fail('ENOENT', 'attach', 'the segment was removed')
    for (let done = 0; done < length; done += maxSnapshotBytes) {
      const some = Math.min(maxSnapshotBytes, length - done)
      kernel.writeAt(
        into,
        done,
        await this.#context.snapshots.read(segment, memory, { offset: offset + done, length: some }, client.channel),
        0,
        some,
      )
    }
  }

  #mapped(client: Client, message: Message & { name: 'mapped' }): Reply {
    this.#context.pagers.mapped(client.group, message.rows)
    return reply('done', {})
  }

  /** Whether nothing has to be waited for before extents can be told. */
  #isReady(client: Client, permit: Permit, segment: Segment, memory: SegmentMemory, range: Range): boolean {
    const { groups, homes } = this.#context
    return (
      isCurrent(segment, memory, range, groups) &&
      memory.files(range).every(({ identity }) => homes.isReadyFor(client.group, identity, accessOf(permit.access)))
    )
  }

  async #attachRecovered(client: Client, message: Message & { name: 'attach' }): Promise<void> {
    await this.#context.recovered()
    await this.#attach(client, message)
  }

  async #attachLater(
    client: Client,
    message: Message & { name: 'attach' },
    segment: Segment,
    memory: SegmentMemory,
  ): Promise<void> {
    const { agentTimeoutMs } = this.#context
    try {
      if ((await client.group.agentWithin(agentTimeoutMs)) === undefined) {
        fail('ETIMEDOUT', 'attach', "this process's own agent is not connected")
      }
      const range = rangeOf(message)
      await ensureShared(segment, memory, range, client.channel, this.#context)
      if (!memory.stable) this.#context.shared()
      const { access: allowed } = this.#context.registry.permit(client.group.id, message.apid, 'attach')
      for (const { identity } of memory.files(range)) {
        await this.#context.homes.armFor(client.group, identity, accessOf(allowed))
      }
      this.#sendExtents(client, message)
    } catch (error) {
      this.#sendFailure(client, message, error)
    }
  }

  /** The permit, its segment and the segment's memory, if the range can be attached with it. */
  #attachable(client: Client, message: Message & { name: 'attach' }) {
    const { registry, memories } = this.#context
    if (!isId(message.apid)) fail('EINVAL', 'attach', 'an apid is positive')
    const permit = registry.permit(client.group.id, message.apid, 'attach')
    const segment = registry.find(permit.segid, 'attach')
    const { offset, length } = message
    checkRange(segment, offset, length)
    const memory = memories.get(segment.segid)
    if (memory === undefined) fail('ENOENT', 'attach', 'the segment was removed')
    return { permit, segment, memory }
  }

  /** Asked again right before the descriptors go out: the segment may have ended while others were waited for. */
  #sendExtents(client: Client, message: Message & { name: 'attach' }): void {
    const { permit, segment, memory } = this.#attachable(client, message)
    if (client.group.gone) return
    const { offset, length } = message
    const { homes } = this.#context
    const { rows, descriptors } = memory.answer(offset, length, {
      access: permit.access,
      bus: wantsBus(message),
      copyOf: (identity) => (permit.access === access.read ? homes.copyFor(client.group, identity) : undefined),
    })
    this.#context.registry.hold(client.group.id, segment.segid, permit.apid)
    client.channel.send('extents', message.request, { rows }, descriptors)
  }

  #release(client: Client, message: Message & { name: 'release' }): Reply {
    if (!isId(message.apid)) fail('EINVAL', 'release', 'an apid is positive')
    this.#context.registry.release(client.group.id, message.apid)
    this.#context.partitions.releaseEnded()
    return reply('done', {})
  }

  async #remove(client: Client, message: Message & { name: 'remove' }): Promise<Reply> {
    const { registry, revoker } = this.#context
    const { segid } = message
    if (!isId(segid)) fail('EINVAL', 'remove', 'a segid is positive')
    // Processes that hold a segment made under an earlier service must have had the time to say so.
    if (this.#context.recovering && unpackId(segid).incarnation !== this.#context.ids.incarnation) {
      await this.#context.recovered()
    }
    const segment = registry.find(segid, 'remove')
    const { holders } = registry.remove(client.group.id, segid)
    this.#context.memories.get(segid)?.close()
    this.#context.memories.delete(segid)
    const silent = await revoker.revoke(segid, holders, reason.removed)
    if (silent.length === 0) return reply('done', {})
    // Also of a segment that was made while those who are silent now were waited for.
    if (!registry.overlaps(segment) && (await revoker.moveAway(segment))) return reply('done', {})
    const pids = silent.map(({ pid }) => pid).join(', ')
    return fail(
      'ETIMEDOUT',
      'remove',
      `the segment is gone, but pid ${pids} did not answer, was cut off, and may still see its memory`,
    )
  }

  async #list(client: Client, message: Message & { name: 'list' }): Promise<Reply> {
    const { registry, groups, memories } = this.#context
    if (message.cursor === 0n || client.listing === undefined) client.listing = await collectHoldings(registry, groups)
    const memoryOf = (segid: bigint) => memories.get(segid)
    return reply('listing', listingPage(registry, groups, memoryOf, client.listing as Holdings, message.cursor))
  }
}

/** The one descriptor that came, if it is of a memfd of that length whose size stays. */
function checkSnapshotFile(descriptors: readonly number[], length: number): number {
  const [into] = descriptors
  if (into === undefined || descriptors.length > 1)
    return fail('EPROTO', 'snapshot', 'one memfd goes with this request')
  const { size, writable } = checkSealed(into)
  if (!writable || size !== length) fail('EPROTO', 'snapshot', 'the memfd is not writable, or of another length')
  return into
}

function accessOf(allowed: number): 'read' | 'write' {
  return allowed === access.readwrite ? 'write' : 'read'
}

function wantsBus(message: Message & { name: 'attach' }): boolean {
  return (message.flags & attachFlag.bus) !== 0
}

function rangeOf(message: Message & { name: 'attach' }): Range {
  return { offset: message.offset, length: message.length, holes: wantsBus(message) }
}

function segmentFacts(segid: bigint, { group, credentials }: Client) {
  return [segid, group.pid, group.start, credentials.uid]
}

function permitFacts(permit: Permit, client: Client, ownerPid: number, ownerStart: bigint) {
  const { group } = client
  return [permit.apid, permit.segid, permit.access, group.pid, group.start, ownerPid, ownerStart]
}

/** Characters of a failure's text at the most; what a client or an agent said may be in it. */
const maxFailureText = 1_000

function checkOffer(who: Credentials, message: Message & { name: 'make' }): Offer {
  const { address, length, dataLength, mode, text: name } = message
  const page = kernel.pageSize
  if (length === 0 || length % page !== 0 || address % BigInt(page) !== 0n) {
    fail('EINVAL', 'make', `address and length are multiples of the page size, ${page}, and the length is not 0`)
  }
  if (address + BigInt(length) > maxAddress) fail('EINVAL', 'make', 'the range ends after the address space')
  if (dataLength > length) fail('EINVAL', 'make', 'the data is longer than the memory')
  if (mode > 0o777) fail('EINVAL', 'make', 'the mode has permission bits only, 0 to 0777')
  if ((message.flags & ~makeFlag.backed) !== 0) fail('EINVAL', 'make', 'unknown flags')
  if (name !== '') checkName(name, 'make')
  return { address, length, dataLength, mode, name, uid: who.uid, gid: who.gid }
}
