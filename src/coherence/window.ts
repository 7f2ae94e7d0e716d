interface Given {
  readonly first: number
  readonly end: number
  readonly until: number
}

/**
 * Pages that were just given to a thread and are not taken from it before it could use them. Few at
 * any time: what is over is forgotten with the next that is given.
 */
export class Window {
  readonly #holdMs: number
  #given: Given[] = []

  constructor(holdMs: number) {
    this.#holdMs = holdMs
  }

  give(first: number, count: number, now: number): void {
    this.prune(now)
    if (this.#holdMs > 0) this.#given.push({ first, end: first + count, until: now + this.#holdMs })
  }

  prune(now: number): void {
    // They are over in the order in which they were given.
    let over = 0
    while (over < this.#given.length && (this.#given[over] as Given).until <= now) over += 1
    if (over > 0) this.#given.splice(0, over)
  }

  /** When the page's time is over; 0 if it is. */
  until(page: number, now: number): number {
    for (let index = this.#given.length - 1; index >= 0; index -= 1) {
      const { first, end, until } = this.#given[index] as Given
      if (first <= page && page < end) return until <= now ? 0 : until
    }
    return 0
  }

  clear(): void {
    this.#given = []
  }

  snapshot(): number[][] {
    return this.#given.map(({ first, end, until }) => [first, end, until])
  }

  restore(snapshot: readonly (readonly number[])[]): void {
    this.#given = snapshot.map(([first = 0, end = 0, until = 0]) => ({ first, end, until }))
  }
}
