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
    if (this.#given.some(({ until }) => until <= now)) this.#given = this.#given.filter(({ until }) => until > now)
  }

  /** When the page's time is over; 0 if it is. */
  until(page: number, now: number): number {
    const given = this.#given.findLast(({ first, end }) => first <= page && page < end)
    return given === undefined || given.until <= now ? 0 : given.until
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
