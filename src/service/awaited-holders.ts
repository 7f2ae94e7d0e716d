import { XpmemError } from '../errors.js'
import type { GroupId } from './registry.js'

/** Holders, told by their agents, of segments whose owners have not come back yet. */
export class AwaitedHolders {
  readonly #holders = new Map<bigint, Set<GroupId>>()
  /** How many segments each holder told of. */
  readonly #counts = new Map<GroupId, number>()
  readonly #maxPerGroup: number

  constructor(maxPerGroup: number) {
    this.#maxPerGroup = maxPerGroup
  }

  /** EMFILE if the holder tells of more than it may. */
  add(segid: bigint, holder: GroupId): void {
    const holders = this.#holders.get(segid) ?? new Set()
    if (holders.has(holder)) return
    const told = this.#counts.get(holder) ?? 0
    if (told >= this.#maxPerGroup)
      throw new XpmemError('EMFILE', 'held', 'the process tells of more segments than can be')
    this.#counts.set(holder, told + 1)
    this.#holders.set(segid, holders.add(holder))
  }

  has(segid: bigint): boolean {
    return this.#holders.has(segid)
  }

  /** The segment is not awaited any more; who held it. */
  take(segid: bigint): GroupId[] {
    const holders = [...(this.#holders.get(segid) ?? [])]
    this.#holders.delete(segid)
    for (const holder of holders) this.#counts.set(holder, (this.#counts.get(holder) ?? 0) - 1)
    return holders
  }

  /** The holder is gone. */
  forget(holder: GroupId): void {
    if (!this.#counts.delete(holder)) return
    for (const [segid, holders] of this.#holders) {
      holders.delete(holder)
      if (holders.size === 0) this.#holders.delete(segid)
    }
  }
}
