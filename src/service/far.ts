import { totalmem } from 'node:os'
import { Budget } from '../pager/budget.js'
import { Homes } from '../pager/homes.js'
import { Pagers } from '../pager/pagers.js'
import { Partitions, type PartitionsContext, type PartitionsOptions } from '../partitions/partitions.js'
import type { ThreadGroup } from './groups.js'
import { Rollbacks, type RollbacksContext } from './rollbacks.js'
import { Snapshots } from './snapshots.js'

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

/** Heartbeats of a service without partitions, which sends none. */
const noPartitions: PartitionsOptions = { peers: [], trusted: [], heartbeatMs: 1_000 }

export interface FarOptions {
  /** The partitions that this one may speak with. None if undefined. */
  readonly partitions?: PartitionsOptions | undefined
  readonly paging?: PagingSettings | undefined
}

export interface FarContext
  extends Omit<PartitionsContext, 'homes' | 'snapshots' | 'pagers' | 'paging'>,
    RollbacksContext {}

/** Memory across partitions: what others use of this one's, what is used here of theirs, and who answers its faults. */
export class Far {
  readonly pagers: Pagers
  readonly homes: Homes
  readonly snapshots: Snapshots
  readonly partitions: Partitions
  readonly rollbacks: Rollbacks
  readonly #context: FarContext

  constructor(options: FarOptions, context: FarContext) {
    this.#context = context
    const { holdMs, flushMs, cacheBytes } = options.paging ?? defaultPaging
    const paging = { holdMs, flushMs, budget: new Budget(cacheBytes) }
    this.pagers = new Pagers(context.agentTimeoutMs)
    this.rollbacks = new Rollbacks(context)
    this.homes = new Homes(
      {
        pagers: this.pagers,
        usersOf: (identity) => this.#usersOf(identity),
        rolledBack: (identity, pages) => this.rollbacks.lost(identity, pages),
      },
      paging,
    )
    this.snapshots = new Snapshots({ ...context, homes: this.homes })
    const { pagers, homes, snapshots } = this
    this.partitions = new Partitions(options.partitions ?? noPartitions, {
      ...context,
      pagers,
      homes,
      snapshots,
      paging,
    })
  }

  /** The agent of a process is there, perhaps again. */
  agentConnected(group: ThreadGroup): void {
    void this.homes.connected(group)
  }

  /** The agent of a process is gone, which has ended what it had paged. */
  agentGone(group: ThreadGroup): void {
    this.homes.forget(group)
    this.pagers.forget(group)
  }

  /** Closes what pages memory here, when other partitions have nothing of it any more. */
  close(): void {
    this.homes.close()
    this.pagers.close()
  }

  /** Every process that may have mapped some of a file: the owners of segments that lie in it, and the holders. */
  *#usersOf(identity: string): Generator<ThreadGroup> {
    const { memories, registry, groups } = this.#context
    const seen = new Set<number>()
    for (const [segid, memory] of memories) {
      if (!memory.hasFile(identity) || !registry.has(segid)) continue
      const { owner } = registry.find(segid, 'attach')
      for (const id of [owner, ...registry.holdersOf(segid)]) {
        const group = groups.get(id)
        if (group === undefined || seen.has(id)) continue
        seen.add(id)
        yield group
      }
    }
  }
}
