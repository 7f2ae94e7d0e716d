/** How long a page may take that waits behind another on the way: slower links are none. */
const perPageMs = 10

interface Demand {
  readonly first: number
  readonly end: number
  /** Pages that did not come yet. */
  left: number
  /** Until when they must come: what comes meanwhile of others is no excuse. */
  readonly dueMs: number
}

/** Pages that were demanded of somebody and did not come yet, each once; an alarm if one of them takes too long. */
export class Demands {
  readonly #timeoutMs: number
  readonly #late: () => void
  /** In the order in which they were made, which is mostly that in which they are met. */
  readonly #demands: Demand[] = []
  /** Pages of all of them. */
  #left = 0
  /** Where the last one was met. */
  #met = 0
  #timer: NodeJS.Timeout | undefined

  constructor(timeoutMs: number, late: () => void) {
    this.#timeoutMs = timeoutMs
    this.#late = late
  }

  made(first: number, count: number): void {
    this.#left += count
    const dueMs = performance.now() + this.#timeoutMs + this.#left * perPageMs
    this.#demands.push({ first, end: first + count, left: count, dueMs })
    if (this.#timer === undefined) this.#start(this.#timeoutMs)
  }

  met(first: number, count: number): void {
    for (let page = first; page < first + count; ) {
      const index = this.#indexOf(page)
      if (index < 0) return
      const demand = this.#demands[index] as Demand
      const some = Math.min(first + count, demand.end) - page
      demand.left -= some
      this.#left -= some
      page += some
      this.#met = index
      if (demand.left === 0) this.#demands.splice(index, 1)
    }
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#demands.length = 0
  }

  #indexOf(page: number): number {
    const { length } = this.#demands
    for (let step = 0; step < length; step += 1) {
      const index = (this.#met + step) % length
      const { first, end } = this.#demands[index] as Demand
      if (first <= page && page < end) return index
    }
    return -1
  }

  #start(afterMs: number): void {
    this.#timer = setTimeout(() => this.#check(), afterMs)
    this.#timer.unref()
  }

  #check(): void {
    this.#timer = undefined
    if (this.#demands.length === 0) return
    const now = performance.now()
    let firstMs = now + this.#timeoutMs
    for (const { dueMs } of this.#demands) firstMs = Math.min(firstMs, dueMs)
    if (firstMs <= now) this.#late()
    else this.#start(firstMs - now)
  }
}
