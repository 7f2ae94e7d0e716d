import { XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import { closeAll } from '../transport/descriptor.js'
import { shareFlag } from '../wire/schema.js'
import type { Groups } from './groups.js'
import type { Segment } from './registry.js'
import type { SegmentMemory } from './segment-memory.js'
import { staleParts } from './verify.js'

/**
 * Bytes that an owner's agent moves at once: it gets to its other work in between, and a busy
 * machine still leaves it far from the time it has to answer.
 */
const shareStepBytes = 16 * 1024 * 1024

/** How long an owner's agent may be at a range, whatever comes of it; and how much must come for more. */
const shareGraceMs = 10_000
const leastShareBytesPerMs = 1_024

/** How long the end of a process may come after the end of its connection. */
const endWaitMs = 100

/** A part of a segment that somebody wants to attach. */
export interface Range {
  readonly offset: number
  readonly length: number
  /** Where nothing is mapped, or memory that cannot be shared, is a hole, not an error. */
  readonly holes: boolean
}

export interface ShareContext {
  readonly groups: Groups
  readonly agentTimeoutMs: number
  /** A clock that only goes forward. */
  nowMs(): number
}

/** Who asked for a range: its connection. */
export interface Asker {
  readonly closed: boolean
}

/**
 * Whether all of a range is known to lie where it is thought to lie, by the owner's mappings as they
 * are now. What is not is forgotten; all of it, if this process may not look at the owner's.
 */
export function isCurrent(segment: Segment, memory: SegmentMemory, range: Range, groups: Groups): boolean {
  const { offset, length } = range
  if (!memory.stable) {
    const known = memory.known(offset, length)
    const mappings =
      known.length === 0 ? [] : groups.get(segment.owner)?.mappings(segment.address + BigInt(offset), length)
    if (mappings === undefined) {
      memory.forget([range])
    } else {
      const within = known.map((extent) => clipped(extent, range))
      memory.forget(staleParts(segment.address, within, (file) => memory.identityOf(file), mappings))
    }
  }
  return memory.firstGap(offset, length) === undefined
}

/** What of an extent lies in a range. */
export function clipped<T extends { offset: number; length: number; fileOffset: number }>(
  extent: T,
  range: { offset: number; length: number },
): T {
  const offset = Math.max(extent.offset, range.offset)
  const stop = Math.min(extent.offset + extent.length, range.offset + range.length)
  return { ...extent, offset, length: stop - offset, fileOffset: extent.fileOffset + (offset - extent.offset) }
}

/** How often a range is asked for again that its owner changes all the while. */
const maxShareTries = 64

/** As `shareRange`, again and again while others see that some of it has changed meanwhile. EAGAIN after a while. */
export async function ensureShared(
  segment: Segment,
  memory: SegmentMemory,
  range: Range,
  asker: Asker,
  context: ShareContext,
): Promise<void> {
  for (let tries = 0; tries === 0 || memory.firstGap(range.offset, range.length) !== undefined; tries += 1) {
    if (tries === maxShareTries) throw new XpmemError('EAGAIN', 'attach', 'the owner changes this memory all the time')
    await shareRange(segment, memory, range, asker, context)
  }
}

/** EINVAL unless a range is of whole pages and lies in a segment. */
export function checkRange(segment: Segment, offset: number, length: number): void {
  const { pageSize } = kernel
  if (offset % pageSize !== 0 || length % pageSize !== 0 || length === 0) {
    throw new XpmemError('EINVAL', 'attach', `offset and length are multiples of the page size, ${pageSize}`)
  }
  if (offset + length > segment.length) {
    throw new XpmemError('EINVAL', 'attach', `the range ends after the segment's ${segment.length} bytes`)
  }
}

/**
 * Sees to it that a range of a segment lies in files, asking the owner's agent for what does not.
 * Rejects with ETIMEDOUT if the owner does not answer, or only with scraps, EFAULT where its memory
 * cannot be shared, ENOENT if the segment ends meanwhile, ECANCELED if the asker goes away.
 */
export async function shareRange(
  segment: Segment,
  memory: SegmentMemory,
  range: Range,
  asker: Asker,
  context: ShareContext,
): Promise<void> {
  const work = memory.turn.then(() => shareGaps(segment, memory, range, asker, context))
  memory.turn = work.catch(() => {})
  await work
}

async function shareGaps(
  segment: Segment,
  memory: SegmentMemory,
  range: Range,
  asker: Asker,
  context: ShareContext,
): Promise<void> {
  const { offset, length } = range
  const end = offset + length
  const startedMs = context.nowMs()
  let sharedBytes = 0
  if (asker.closed) throw new XpmemError('ECANCELED', 'attach', 'who asked is gone')
  if (isCurrent(segment, memory, range, context.groups)) return requireOpen(memory)
  let reached = -1
  for (let gap = memory.firstGap(offset, length); gap !== undefined; gap = memory.firstGap(offset, length)) {
    requireOpen(memory)
    if (asker.closed) throw new XpmemError('ECANCELED', 'attach', 'who asked is gone')
    if (context.nowMs() - startedMs > shareGraceMs + sharedBytes / leastShareBytesPerMs) {
      throw new XpmemError('ETIMEDOUT', 'attach', "the owner's agent shares its memory too slowly")
    }
    const ask = { offset: gap, length: memory.gapEnd(gap, end) - gap, holes: range.holes }
    try {
      await shareStep(segment, memory, ask, gap === reached, context)
    } catch (error) {
      // An owner that has removed the segment no longer lets its agent share it.
      requireOpen(memory)
      if ((error as XpmemError).code === 'ECONNRESET') await requireOwner(segment, context.groups)
      throw error
    }
    const next = memory.firstGap(gap, ask.length)
    if (next === gap) {
      throw new XpmemError('EPROTO', 'attach', "the owner's agent answered with something else than it was asked for")
    }
    sharedBytes += (next ?? gap + ask.length) - gap
    reached = next ?? -1
  }
  requireOpen(memory)
}

async function shareStep(
  segment: Segment,
  memory: SegmentMemory,
  { offset, length, holes }: Range,
  more: boolean,
  { groups, agentTimeoutMs }: ShareContext,
): Promise<void> {
  const agent = await groups.get(segment.owner)?.agentWithin(agentTimeoutMs)
  if (groups.get(segment.owner) === undefined) throw new XpmemError('ENOENT', 'attach', "the segment's owner is gone")
  if (agent === undefined) throw new XpmemError('ETIMEDOUT', 'attach', "the owner's agent is not connected")
  const address = segment.address + BigInt(offset)
  const flags = (holes ? shareFlag.holes : 0) | (more ? shareFlag.more : 0)
  const input = { address, length, most: shareStepBytes, flags }
  const { message, descriptors } = await agent.request('share', input, agentTimeoutMs)
  if (message.name !== 'extents' || memory.closed) {
    closeAll(descriptors)
    requireOpen(memory)
    throw new XpmemError('EPROTO', 'attach', `the owner's agent answered a share with ${message.name}`)
  }
  memory.accept({ offset, length, holes }, message.rows, descriptors)
}

/** ENOENT if the owner's agent went away with its process: the pidfd tells it a moment later. */
async function requireOwner(segment: Segment, groups: Groups): Promise<void> {
  await groups.get(segment.owner)?.agentWithin(endWaitMs)
  if (groups.get(segment.owner) === undefined) throw new XpmemError('ENOENT', 'attach', "the segment's owner is gone")
}

function requireOpen(memory: SegmentMemory): void {
  if (memory.closed) throw new XpmemError('ENOENT', 'attach', 'the segment was removed')
}
