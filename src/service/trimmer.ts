import { closeAll } from '../transport/descriptor.js'
import type { AgentLink } from './agent-link.js'
import type { Groups } from './groups.js'
import type { GroupId, Segment } from './registry.js'
import type { SegmentMemory } from './segment-memory.js'

export interface TrimmerOptions {
  readonly groups: Groups
  readonly agentTimeoutMs: number
  /** Segments whose memory may go away from under them, and lies in files now. */
  movable(): Iterable<{ segment: Segment; memory: SegmentMemory }>
}

/** How long memory that its owner has unmapped may stay allocated because files of it are open here. */
const trimEveryMs = 1_000

/**
 * Lets go of memory that its owner has unmapped: asks the agents of owners that moved memory which of
 * their files nothing maps any more.
 */
export class Trimmer {
  readonly #options: TrimmerOptions
  #timer: NodeJS.Timeout | undefined
  #asked = new Set<GroupId>()

  constructor(options: TrimmerOptions) {
    this.#options = options
  }

  /** Begins, if there is anything to do; goes on until there is not. */
  wake(): void {
    if (this.#timer !== undefined) return
    this.#timer = setInterval(() => this.#turn(), trimEveryMs)
    this.#timer.unref()
  }

  close(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #turn(): void {
    const memories = new Map<GroupId, SegmentMemory[]>()
    for (const { segment, memory } of this.#options.movable()) {
      const known = memories.get(segment.owner)
      if (known === undefined) memories.set(segment.owner, [memory])
      else known.push(memory)
    }
    if (memories.size === 0) return this.close()
    for (const [owner, list] of memories) {
      const agent = this.#options.groups.get(owner)?.agent
      if (agent === undefined || agent.congested || this.#asked.has(owner)) continue
      this.#asked.add(owner)
      void this.#trim(agent, list).finally(() => this.#asked.delete(owner))
    }
  }

  async #trim(agent: AgentLink, memories: readonly SegmentMemory[]): Promise<void> {
    try {
      const { message, descriptors } = await agent.request('trim', {}, this.#options.agentTimeoutMs)
      closeAll(descriptors)
      if (message.name !== 'trimmed' || message.rows.length === 0) return
      const gone = new Set(message.rows.map(({ device, inode }) => `${device}:${inode}`))
      for (const memory of memories) if (!memory.closed) memory.forgetFiles(gone)
    } catch {
      // An agent that does not answer now is asked again.
    }
  }
}
