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

/** Among how many of the last runs one is looked for that a page goes on: as many as grow side by side. */
const openRuns = 8

/**
 * Collects the effects of an event page by page and has them carried out in runs. Effects have an
 * order in which they must be carried out for any one page; a page that needs them in another order
 * has what is collected carried out first. An event visits each page once.
 */
export class Batch {
  readonly #carryOut: (run: Run) => void
  #runs: Run[] = []
  #isSorted = true
  #page = -1
  #reached = 0

  constructor(carryOut: (run: Run) => void) {
    this.#carryOut = carryOut
  }

  add(effect: number, page: number, node = 0, nth = 0, time = 0): void {
    if (page === this.#page && effect < this.#reached) this.flush()
    this.#page = page
    this.#reached = effect
    const { length } = this.#runs
    for (let index = length - 1; index >= 0 && index >= length - openRuns; index -= 1) {
      const run = this.#runs[index] as Run
      if (run.effect !== effect || run.node !== node) continue
      // Of one effect only the last run grows.
      if (run.first + run.count !== page || run.time !== time) break
      run.count += 1
      return
    }
    if (length > 0 && effect < (this.#runs[length - 1] as Run).effect) this.#isSorted = false
    this.#runs.push({ effect, node, time, first: page, count: 1, nth })
  }

  flush(): void {
    this.#page = -1
    if (this.#runs.length === 0) return
    const runs = this.#runs
    this.#runs = []
    if (!this.#isSorted) runs.sort((a, b) => a.effect - b.effect)
    this.#isSorted = true
    for (const run of runs) this.#carryOut(run)
  }
}
