/** How long a page may take that waits behind another on the way: slower links are none. */
const perPageMs = 10

/** Pages that were demanded of somebody and did not come yet; an alarm if one of them takes too long. */
export class Demands {
  readonly #timeoutMs: number
  readonly #late: () => void
  /** Until when each page must come: what comes meanwhile of others is no excuse. */
  readonly #dueMs = new Map<number, number>()
  #timer: NodeJS.Timeout | undefined

  constructor(timeoutMs: number, late: () => void) {
    this.#timeoutMs = timeoutMs
    this.#late = late
  }

  made(first: number, count: number): void {
    const now = performance.now()
    for (let page = first; page < first + count; page += 1) {
      this.#dueMs.set(page, now + this.#timeoutMs + this.#dueMs.size * perPageMs)
    }
    if (this.#timer === undefined) this.#start(this.#timeoutMs)
  }

  met(first: number, count: number): void {
    for (let page = first; page < first + count; page += 1) this.#dueMs.delete(page)
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#dueMs.clear()
  }

  #start(afterMs: number): void {
    this.#timer = setTimeout(() => this.#check(), afterMs)
    this.#timer.unref()
  }

  #check(): void {
    this.#timer = undefined
    if (this.#dueMs.size === 0) return
    const now = performance.now()
    let firstMs = now + this.#timeoutMs
    for (const dueMs of this.#dueMs.values()) firstMs = Math.min(firstMs, dueMs)
    if (firstMs <= now) this.#late()
    else this.#start(firstMs - now)
  }
}
