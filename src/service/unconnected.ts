import type { ThreadGroup } from './groups.js'

/** How often a process without connections is looked at. */
const lookMs = 1_000

/**
 * Processes that live and have something here, and no connection. Where a connection was lost they
 * come back; an exec closed it for good, and nothing else tells of that.
 */
export class Unconnected {
  readonly #ended: (group: ThreadGroup) => void
  readonly #groups = new Set<ThreadGroup>()
  #timer: NodeJS.Timeout | undefined

  /** `ended`: the program that the group stands for is not there any more. */
  constructor(ended: (group: ThreadGroup) => void) {
    this.#ended = ended
  }

  /** A connection of the group's has closed. */
  look(group: ThreadGroup): void {
    this.#groups.delete(group)
    if (group.gone || group.connections > 0) return
    if (group.running === false) return this.#ended(group)
    this.#groups.add(group)
    this.#timer ??= setInterval(() => this.#lookAtAll(), lookMs).unref()
  }

  close(): void {
    this.#groups.clear()
    this.#lookAtAll()
  }

  #lookAtAll(): void {
    for (const group of [...this.#groups]) this.look(group)
    if (this.#groups.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
