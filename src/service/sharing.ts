import { XpmemError } from '../errors.js'
import { closeAll } from '../transport/descriptor.js'
import type { Groups } from './groups.js'
import type { Segment } from './registry.js'
import type { SegmentMemory } from './segment-memory.js'

/**
 * Bytes that an owner's agent is asked for at once: it gets to its other work in between, and a busy
 * machine still leaves it far from the time it has to answer.
 */
const shareStepBytes = 16 * 1024 * 1024

/** How long the end of a process may come after the end of its connection. */
const endWaitMs = 100

/**
 * Sees to it that a range of a segment lies in files, asking the owner's agent for what does not.
 * Rejects with ETIMEDOUT if the owner does not answer, EFAULT where its memory cannot be shared,
 * ENOENT if the segment ends meanwhile.
 */
export async function shareRange(
  segment: Segment,
  memory: SegmentMemory,
  range: { offset: number; length: number },
  groups: Groups,
  agentTimeoutMs: number,
): Promise<void> {
  const work = memory.turn.then(() => shareGaps(segment, memory, range, groups, agentTimeoutMs))
  memory.turn = work.catch(() => {})
  await work
}

async function shareGaps(
  segment: Segment,
  memory: SegmentMemory,
  { offset, length }: { offset: number; length: number },
  groups: Groups,
  agentTimeoutMs: number,
): Promise<void> {
  const end = offset + length
  for (let gap = memory.firstGap(offset, length); gap !== undefined; gap = memory.firstGap(offset, length)) {
    requireOpen(memory)
    const step = Math.min(shareStepBytes, end - gap)
    try {
      await shareStep(segment, memory, gap, step, groups, agentTimeoutMs)
    } catch (error) {
      // An owner that has removed the segment no longer lets its agent share it.
      requireOpen(memory)
      if ((error as XpmemError).code === 'ECONNRESET') await requireOwner(segment, groups)
      throw error
    }
    if (memory.firstGap(offset, length) === gap) {
      throw new XpmemError('EPROTO', 'attach', "the owner's agent answered with something else than it was asked for")
    }
  }
  requireOpen(memory)
}

async function shareStep(
  segment: Segment,
  memory: SegmentMemory,
  offset: number,
  length: number,
  groups: Groups,
  agentTimeoutMs: number,
): Promise<void> {
  const agent = await groups.get(segment.owner)?.agentWithin(agentTimeoutMs)
  if (groups.get(segment.owner) === undefined) throw new XpmemError('ENOENT', 'attach', "the segment's owner is gone")
  if (agent === undefined) throw new XpmemError('ETIMEDOUT', 'attach', "the owner's agent is not connected")
  const address = segment.address + BigInt(offset)
  const { message, descriptors } = await agent.request('share', { address, length }, agentTimeoutMs)
  if (message.name !== 'extents' || memory.closed) {
    closeAll(descriptors)
    requireOpen(memory)
    throw new XpmemError('EPROTO', 'attach', `the owner's agent answered a share with ${message.name}`)
  }
  memory.accept(offset, length, message.rows, descriptors)
}

/** ENOENT if the owner's agent went away with its process: the pidfd tells it a moment later. */
async function requireOwner(segment: Segment, groups: Groups): Promise<void> {
  await groups.get(segment.owner)?.agentWithin(endWaitMs)
  if (groups.get(segment.owner) === undefined) throw new XpmemError('ENOENT', 'attach', "the segment's owner is gone")
}

function requireOpen(memory: SegmentMemory): void {
  if (memory.closed) throw new XpmemError('ENOENT', 'attach', 'the segment was removed')
}
