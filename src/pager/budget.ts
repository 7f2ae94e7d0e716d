import { kernel } from '../kernel/index.js'

/** A copy of a file whose pages can be had again. */
export interface Evictable {
  /** When one of its pages was last asked for, as performance.now() counts. */
  readonly lastFaultMs: number
  /** Drops pages, those that were asked for longest ago; tells how many. */
  evict(count: number): number
}

/** Pages that are dropped at once when there are too many, so that it is not done for each that comes. */
const slackPages = 64

/** How much memory copies of far pages may take, all together. */
export class Budget {
  readonly #mostPages: number
  readonly #files = new Set<Evictable>()
  #usedPages = 0
  #scheduled = false

  constructor(bytes: number) {
    this.#mostPages = Math.max(1, Math.floor(bytes / kernel.pageSize))
  }

  add(file: Evictable): void {
    this.#files.add(file)
  }

  /** The file is gone, with the pages that it had. */
  remove(file: Evictable, pages: number): void {
    this.#files.delete(file)
    this.#usedPages -= pages
  }

  /** Pages have come, or gone. Makes room a moment later, when the event that brought them is over. */
  changed(pages: number): void {
    this.#usedPages += pages
    if (this.#usedPages <= this.#mostPages || this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#makeRoom()
    })
  }

  #makeRoom(): void {
    const oldestFirst = [...this.#files].sort((a, b) => a.lastFaultMs - b.lastFaultMs)
    for (const file of oldestFirst) {
      const excess = this.#usedPages - this.#mostPages
      if (excess <= 0) return
      file.evict(excess + Math.min(slackPages, this.#mostPages >> 4))
    }
  }
}
