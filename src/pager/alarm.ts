interface Entry {
  readonly first: number
  readonly count: number
  readonly untilMs: number
}

/** Tells a machine when the time that it asked for has come; one timer for all, for the first of them. */
export class Alarm {
  readonly #elapsed: (first: number, count: number, nowMs: number) => void
  #entries: Entry[] = []
  #timer: NodeJS.Timeout | undefined
  #dueMs = Number.POSITIVE_INFINITY

  constructor(elapsed: (first: number, count: number, nowMs: number) => void) {
    this.#elapsed = elapsed
  }

  /** `untilMs` as performance.now() counts. */
  set(first: number, count: number, untilMs: number): void {
    this.#entries.push({ first, count, untilMs })
    if (untilMs < this.#dueMs) this.#schedule(untilMs)
  }

  /** Everything that waits has waited long enough. */
  ringAll(): void {
    for (const { first, count } of this.#entries.splice(0)) this.#elapsed(first, count, Number.POSITIVE_INFINITY)
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#entries = []
  }

  #schedule(untilMs: number): void {
    clearTimeout(this.#timer)
    this.#dueMs = untilMs
    this.#timer = setTimeout(() => this.#ring(), Math.max(0, untilMs - performance.now()))
    this.#timer.unref()
  }

  #ring(): void {
    const now = performance.now()
    const due = this.#entries.filter(({ untilMs }) => untilMs <= now)
    this.#entries = this.#entries.filter(({ untilMs }) => untilMs > now)
    this.#dueMs = Number.POSITIVE_INFINITY
    for (const { first, count } of due) this.#elapsed(first, count, now)
    const next = this.#entries.reduce((least, { untilMs }) => Math.min(least, untilMs), this.#dueMs)
    if (next < this.#dueMs) this.#schedule(next)
  }
}
