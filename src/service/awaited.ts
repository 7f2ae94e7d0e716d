import { XpmemError } from '../errors.js'
import type { Message } from '../wire/codec.js'
import { reason } from '../wire/schema.js'
import type { Groups, ThreadGroup } from './groups.js'
import type { Registry } from './registry.js'
import type { Revoker } from './revoker.js'

export interface AwaitedContext {
  readonly registry: Registry
  readonly groups: Groups
  readonly revoker: Revoker
  incarnation(): number
  /** Nothing of the process is waited for any more. */
  unawaited(group: ThreadGroup): void
}

/** Rows of `held` that an agent may send after its hello. */
const maxHeldRows = 65_536

/** Processes that an agent may name as owners, beside those that are connected: each takes a pidfd. */
const maxAwaitedOwners = 256

/** Segments of an earlier service that processes hold and whose owners live but have not come back yet. */
export class Awaited {
  readonly #context: AwaitedContext
  readonly #segidsOf = new Map<ThreadGroup, Set<bigint>>()
  /** What each agent has told since its hello, so that none can tell without end. */
  readonly #told = new Map<ThreadGroup, { rows: number; owners: Set<ThreadGroup> }>()

  constructor(context: AwaitedContext) {
    this.#context = context
  }

  /** Whether a segment of the process's is waited for. */
  has(owner: ThreadGroup): boolean {
    return this.#segidsOf.has(owner)
  }

  /** Which segments a process says it holds, after its agent connected. */
  held(group: ThreadGroup, message: Message & { name: 'held' }): void {
    const { registry, groups, incarnation } = this.#context
    const told = this.#told.get(group) ?? { rows: 0, owners: new Set() }
    this.#told.set(group, told)
    told.rows += message.rows.length
    if (told.rows > maxHeldRows)
      throw new XpmemError('EPROTO', 'held', 'the agent tells of more segments than there can be')
    const gone: bigint[] = []
    for (const { segid, ownerPid, ownerStart } of message.rows) {
      const state = registry.heldElsewhere(group.id, segid, incarnation())
      if (state === 'gone') gone.push(segid)
      if (state !== 'awaited') continue
      const owner = groups.ofPid(ownerPid, ownerStart)
      if (owner?.connections === 0) told.owners.add(owner)
      if (told.owners.size > maxAwaitedOwners)
        throw new XpmemError('EPROTO', 'held', 'the agent tells of too many owners')
      this.#await(segid, owner)
    }
    void this.#tellGone(group, gone)
  }

  /** The agent of a process is gone: the next may tell as much. */
  agentGone(group: ThreadGroup): void {
    this.#told.delete(group)
  }

  /** The process has ended, and with it what it owns. */
  ownerGone(owner: ThreadGroup): void {
    for (const segid of this.#segidsOf.get(owner) ?? []) this.#giveUp(segid)
    this.#segidsOf.delete(owner)
  }

  /** Segments that nobody waits for any more, since who held them has gone, are not waited for. */
  prune(): void {
    for (const [owner, segids] of this.#segidsOf) {
      for (const segid of segids) if (!this.#context.registry.isAwaited(segid)) segids.delete(segid)
      if (segids.size > 0) continue
      this.#segidsOf.delete(owner)
      this.#context.unawaited(owner)
    }
  }

  #await(segid: bigint, owner: ThreadGroup | undefined): void {
    if (owner === undefined) return this.#giveUp(segid)
    const awaited = this.#segidsOf.get(owner) ?? new Set()
    this.#segidsOf.set(owner, awaited.add(segid))
  }

  #giveUp(segid: bigint): void {
    const { registry, revoker } = this.#context
    void revoker.ownerGone(segid, registry.giveUpAwaited(segid))
  }

  /** One after the other: an agent may tell of many, and read none of the answers. */
  async #tellGone(group: ThreadGroup, segids: readonly bigint[]): Promise<void> {
    const { agent } = group
    for (const segid of segids) {
      // One that comes back tells again what it holds.
      if (agent === undefined || group.agent !== agent) return
      await this.#context.revoker.revoke(segid, [group.id], reason.removed)
    }
  }
}
