/** Pages with the same effect. */
export interface Run {
  /** What is to be done: a position in the machine's order of effects. */
  readonly effect: number
  /** The node it concerns, or 0. */
  readonly node: number
  /** A time, for an effect that has one. */
  readonly time: number
  readonly first: number
  count: number
  /** Which page of the event's content the first one is. */
  readonly nth: number
}

/** More kinds of effects than any machine has. */
const effects = 32

/**
 * Collects the effects of an event page by page and has them carried out in runs. Effects have an
 * order in which they must be carried out for any one page; a page that needs them in another order
 * has what is collected carried out first. An event visits each page once.
 */
export class Batch {
  readonly #carryOut: (run: Run) => void
  #runs: Run[] = []
  /** Runs that may still grow, by effect and node. */
  readonly #open = new Map<number, Run>()
  #page = -1
  #reached = 0

  constructor(carryOut: (run: Run) => void) {
    this.#carryOut = carryOut
  }

  add(effect: number, page: number, node = 0, nth = 0, time = 0): void {
    if (page === this.#page && effect < this.#reached) this.flush()
    this.#page = page
    this.#reached = effect
    const key = node * effects + effect
    const open = this.#open.get(key)
    if (open !== undefined && open.first + open.count === page && open.time === time) {
      open.count += 1
      return
    }
    const run = { effect, node, time, first: page, count: 1, nth }
    this.#open.set(key, run)
    this.#runs.push(run)
  }

  flush(): void {
    this.#page = -1
    if (this.#runs.length === 0) return
    const runs = this.#runs.sort((a, b) => a.effect - b.effect)
    this.#runs = []
    this.#open.clear()
    for (const run of runs) this.#carryOut(run)
  }
}
