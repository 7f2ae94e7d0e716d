/** Pages with the same effect. */
export interface Run {
  /** What is to be done: a position in the machine's order of effects. */
  readonly effect: number
  /** The node it concerns, or 0. */
  readonly node: number
  /** What else distinguishes it: a choice of two or three, or a time. */
  readonly detail: number
  first: number
  count: number
  /** Which page of the event's content the first one is. */
  readonly nth: number
}

/**
 * Collects the effects of an event page by page and has them carried out in runs. Effects have an
 * order in which they must be carried out for any one page; a page that needs them in another order
 * has what is collected carried out first. An event visits each page once.
 */
export class Batch {
  readonly #carryOut: (run: Run) => void
  readonly #runs: Run[][]
  /** Runs that may still grow, by effect, node and detail. */
  readonly #open = new Map<number, Run>()
  readonly #effects: number
  #page = -1
  #reached = 0

  constructor(effects: number, carryOut: (run: Run) => void) {
    this.#effects = effects
    this.#carryOut = carryOut
    this.#runs = Array.from({ length: effects }, () => [])
  }

  add(effect: number, page: number, node = 0, detail = 0, nth = 0): void {
    if (page === this.#page && effect < this.#reached) this.flush()
    this.#page = page
    this.#reached = effect
    const key = (node * 4 + (Number.isInteger(detail) ? detail & 3 : 3)) * this.#effects + effect
    const open = this.#open.get(key)
    if (open !== undefined && open.first + open.count === page && open.detail === detail) {
      open.count += 1
      return
    }
    const run = { effect, node, detail, first: page, count: 1, nth }
    this.#open.set(key, run)
    this.#runs[effect]?.push(run)
  }

  flush(): void {
    this.#page = -1
    if (this.#open.size === 0) return
    this.#open.clear()
    const collected = this.#runs.flatMap((runs) => runs.splice(0))
    for (const run of collected) this.#carryOut(run)
  }
}
