import type { Partitions } from '../partitions/partitions.js'
import { closeAll } from '../transport/descriptor.js'
import { reason } from '../wire/schema.js'
import type { Groups, ThreadGroup } from './groups.js'
import type { GroupId, Segment } from './registry.js'

export interface RevokerOptions {
  readonly groups: Groups
  readonly partitions: Partitions
  readonly agentTimeoutMs: number
  /** Closes every connection of a process that did not answer. */
  cutOff(group: ThreadGroup): void
}

/** Takes a segment's memory away from those who were given it, and knows when it is done. */
export class Revoker {
  readonly #options: RevokerOptions

  constructor(options: RevokerOptions) {
    this.#options = options
  }

  /**
   * Has every holder's agent replace its mappings. Resolves when each has answered or is gone; to
   * the processes that did neither, which are cut off.
   */
  async revoke(segid: bigint, holders: readonly GroupId[], why: number): Promise<ThreadGroup[]> {
    const outcomes = await Promise.all(holders.map((holder) => this.#revokeOne(segid, holder, why)))
    const silent = outcomes.filter((group) => group !== undefined)
    for (const group of silent) this.#options.cutOff(group)
    return silent
  }

  /** The process if it lives and did not give its word. */
  async #revokeOne(segid: bigint, holder: GroupId, why: number): Promise<ThreadGroup | undefined> {
    const { groups, partitions, agentTimeoutMs } = this.#options
    if (partitions.isPeer(holder)) await partitions.revoke(holder, segid, why)
    const group = groups.get(holder)
    if (group === undefined) return undefined
    try {
      const agent = await group.agentWithin(agentTimeoutMs)
      const answer = await agent?.request('revoke', { segid, reason: why }, agentTimeoutMs)
      closeAll(answer?.descriptors ?? [])
      if (answer?.message.name === 'done') return undefined
    } catch {
      // A process that is going away answers no more; its pidfd says whether it has gone.
    }
    return group.gone ? undefined : group
  }

  /** Puts the owner's pages into a fresh memfd: whoever kept the old one sees nothing more. */
  async moveAway(segment: Segment): Promise<boolean> {
    const { groups, agentTimeoutMs } = this.#options
    const agent = groups.get(segment.owner)?.agent
    if (agent === undefined) return false
    try {
      const input = { address: segment.address, length: segment.length }
      const { message, descriptors } = await agent.request('move', input, agentTimeoutMs)
      closeAll(descriptors)
      return message.name === 'done'
    } catch {
      return false
    }
  }

  /** Tells the holders that the owner is gone. */
  async ownerGone(segid: bigint, holders: readonly GroupId[]): Promise<void> {
    await this.revoke(segid, holders, reason.ownerExit)
  }
}
