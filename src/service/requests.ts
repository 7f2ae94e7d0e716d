import { asXpmemError, type ErrorCode, XpmemError } from '../errors.js'
import { isId, unpackId } from '../ids.js'
import { kernel } from '../kernel/index.js'
import type { Pagers } from '../pager/pagers.js'
import { targetOf } from '../partitions/imports.js'
import { closeAll } from '../transport/descriptor.js'
import type { Message } from '../wire/codec.js'
import { access, gotFlag, makeFlag, reason } from '../wire/schema.js'
import { type AttachContext, AttachRequests } from './attach-requests.js'
import type { Client } from './connection.js'
import type { IdSource } from './identity.js'
import { collectHoldings, type Holdings, listingPage } from './listing.js'
import { PagingRequests } from './paging-requests.js'
import { type Credentials, modeAllows } from './permission.js'
import { hasIpcOwner } from './processes.js'
import type { Offer, Permit, Segment } from './registry.js'
import { answerLater, answerNow, type Reply, reply, sendFailure } from './replies.js'
import type { Revoker } from './revoker.js'
import type { Rollbacks } from './rollbacks.js'
import { SegmentMemory } from './segment-memory.js'
import type { Tokens } from './tokens.js'

export interface RequestContext extends AttachContext {
  readonly tokens: Tokens
  readonly ids: IdSource
  readonly revoker: Revoker
  readonly pagers: Pagers
  readonly rollbacks: Rollbacks
  readonly partitionName: string
  readonly partitionId: number
  readonly memories: Map<bigint, SegmentMemory>
}

interface Offered {
  readonly offer: Offer
  readonly memory: SegmentMemory
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
  readonly #attaching: AttachRequests

  constructor(context: RequestContext) {
    this.#context = context
    this.#paging = new PagingRequests(context.pagers)
    this.#attaching = new AttachRequests(context)
  }

  /** Answers now, or returns the work that will. Throws EPROTO where the peer is to be cut off. */
  handle(client: Client, message: Message, descriptors: number[]): Promise<void> | undefined {
    if (message.name === 'make') return this.#answerMake(client, message, descriptors)
    if (message.name === 'snapshot') {
      return answerLater(client, message, () => this.#attaching.snapshot(client, message, descriptors))
    }
    closeAll(descriptors)
    if (descriptors.length > 0) fail('EPROTO', message.name, 'no descriptors go with this request')
    switch (message.name) {
      case 'get':
        return this.#get(client, message)
      case 'attach':
        return this.#attaching.attach(client, message)
      case 'release':
        return answerNow(client, message, () => this.#release(client, message))
      case 'remove':
        return answerLater(client, message, () => this.#remove(client, message))
      case 'describe':
        return answerNow(client, message, () => this.#describe(client, message))
      case 'restore':
        return answerNow(client, message, () => this.#restore(client, message))
      case 'mapped':
        return answerNow(client, message, () => this.#mapped(client, message))
      case 'prefetch':
        return answerLater(client, message, async () => {
          await this.#paging.prefetch(client.group, message)
          return reply('done', {})
        })
      case 'flush':
        return answerLater(client, message, async () => {
          await this.#paging.flush(client.group, message)
          return reply('done', {})
        })
      case 'stats':
        return answerNow(client, message, () => reply('counted', this.#paging.stats(client.group, message)))
      case 'partitions':
        return answerNow(client, message, () =>
          reply('listing', { text: JSON.stringify(this.#context.partitions.list()) }),
        )
      case 'list':
        return answerLater(client, message, () => this.#list(client, message))
      case 'ping':
        return answerNow(client, message, () => reply('done', {}))
      default:
        return fail('EPROTO', message.name, 'a client does not send this')
    }
  }

  /** While owners are still coming back after a restart, 'not there' is not said before they had the time. */
  #answerAfterRecovery(client: Client, message: Message, work: () => Reply): Promise<void> | undefined {
    if (!this.#context.recovering) return answerNow(client, message, work)
    return answerLater(client, message, async () => {
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
      return answerNow(client, message, () =>
        this.#make(client, message, this.#takeOffered(client, message, descriptors)),
      )
    }
    return answerLater(client, message, async () => {
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
    const { tokens, memories, rollbacks } = this.#context
    try {
      const segment = this.#register(client, message, offer)
      if (memories.has(segment.segid)) {
        memory.close()
      } else {
        memories.set(segment.segid, memory)
        rollbacks.cameBack(client.group, segment)
      }
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
      sendFailure(client, message, error)
      return undefined
    }
    const target = targetOf(key, partitionName, partitionId)
    if (target.where === 'here') {
      return this.#answerAfterRecovery(client, message, () => this.#getHere(client, message, target.key))
    }
    return answerLater(client, message, async () => {
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

  #mapped(client: Client, message: Message & { name: 'mapped' }): Reply {
    this.#context.pagers.mapped(client.group, message.rows)
    return reply('done', {})
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

function segmentFacts(segid: bigint, { group, credentials }: Client) {
  return [segid, group.pid, group.start, imageOf(group), credentials.uid]
}

function permitFacts(permit: Permit, client: Client, ownerPid: number, ownerStart: bigint) {
  const { group } = client
  return [permit.apid, permit.segid, permit.access, group.pid, group.start, imageOf(group), ownerPid, ownerStart]
}

function imageOf({ image }: Client['group']): bigint {
  if (image === undefined) throw new Error('a client says hello before it asks')
  return image.number
}

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
