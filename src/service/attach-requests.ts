import { asXpmemError, type ErrorCode, XpmemError } from '../errors.js'
import { isId } from '../ids.js'
import { kernel } from '../kernel/index.js'
import type { Homes } from '../pager/homes.js'
import type { Partitions } from '../partitions/partitions.js'
import { closeAll } from '../transport/descriptor.js'
import type { Message } from '../wire/codec.js'
import { access, attachFlag } from '../wire/schema.js'
import type { Client } from './connection.js'
import type { Permit, Registry, Segment } from './registry.js'
import { type Reply, reply, sendFailure } from './replies.js'
import { checkSealed, type SegmentMemory } from './segment-memory.js'
import { checkRange, ensureShared, isCurrent, type Range, type ShareContext } from './sharing.js'
import { maxSnapshotBytes, type Snapshots } from './snapshots.js'

export interface AttachContext extends ShareContext {
  readonly registry: Registry
  readonly partitions: Partitions
  readonly homes: Homes
  readonly snapshots: Snapshots
  readonly memories: ReadonlyMap<bigint, SegmentMemory>
  /** Memory was put into files that its owner may let go of. */
  shared(): void
  /** Resolves when the processes that an earlier service knew have had time to come back. */
  recovered(): Promise<void>
  readonly recovering: boolean
}

function fail(code: ErrorCode, call: string, message: string): never {
  throw new XpmemError(code, call, message)
}

/** Tells processes where the memory lies that they attach, when it is ready for them. */
export class AttachRequests {
  readonly #context: AttachContext

  constructor(context: AttachContext) {
    this.#context = context
  }

  attach(client: Client, message: Message & { name: 'attach' }): Promise<void> | undefined {
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
      sendFailure(client, message, error)
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
      sendFailure(client, message, error)
    }
  }

  async snapshot(client: Client, message: Message & { name: 'snapshot' }, descriptors: number[]): Promise<Reply> {
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

  /** Whether nothing has to be waited for before extents can be told. */
  #isReady(client: Client, permit: Permit, segment: Segment, memory: SegmentMemory, range: Range): boolean {
    const { groups } = this.#context
    return isCurrent(segment, memory, range, groups) && this.#isArmed(client, memory, range, permit.access)
  }

  #isArmed({ group }: Client, memory: SegmentMemory, range: Range, allowed: number): boolean {
    const { homes } = this.#context
    return memory.files(range).every(({ identity }) => homes.isReadyFor(group, identity, accessOf(allowed)))
  }

  async #arm({ group }: Client, memory: SegmentMemory, range: Range, allowed: number): Promise<void> {
    const { homes } = this.#context
    await Promise.all(memory.files(range).map(({ identity }) => homes.armFor(group, identity, accessOf(allowed))))
  }

  async #attachRecovered(client: Client, message: Message & { name: 'attach' }): Promise<void> {
    await this.#context.recovered()
    await this.attach(client, message)
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
      // Another file may become one that other partitions use while the process is told of one.
      while (!this.#isArmed(client, memory, range, allowed)) await this.#arm(client, memory, range, allowed)
      this.#sendExtents(client, message)
    } catch (error) {
      sendFailure(client, message, error)
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
