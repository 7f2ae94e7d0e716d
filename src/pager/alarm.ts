import { kernel, type Poll } from '../kernel/index.js'

interface Entry {
  readonly first: number
  readonly count: number
  readonly untilMs: number
}

/** Tells a machine when the time that it asked for has come, to the microsecond; one timer for all, for the first of them. */
export class Alarm {
  readonly #elapsed: (first: number, count: number, nowMs: number) => void
  #entries: Entry[] = []
  /** Opened when it is first needed. */
  #timer: { readonly descriptor: number; readonly poll: Poll } | undefined
  #dueMs = Number.POSITIVE_INFINITY
  #closed = false

  constructor(elapsed: (first: number, count: number, nowMs: number) => void) {
    this.#elapsed = elapsed
  }

  /** `untilMs` as performance.now() counts. */
  set(first: number, count: number, untilMs: number): void {
    if (this.#closed) return
    this.#entries.push({ first, count, untilMs })
    if (untilMs < this.#dueMs) this.#schedule(untilMs)
  }

  /** Everything that waits has waited long enough. */
  ringAll(): void {
    for (const { first, count } of this.#entries.splice(0)) this.#elapsed(first, count, Number.POSITIVE_INFINITY)
  }

  close(): void {
    this.#closed = true
    this.#entries = []
    if (this.#timer === undefined) return
    this.#timer.poll.close()
    kernel.close(this.#timer.descriptor)
    this.#timer = undefined
  }

  #schedule(untilMs: number): void {
    this.#timer ??= this.#open()
    this.#dueMs = untilMs
    kernel.timerSet(this.#timer.descriptor, Math.max(0, Math.ceil((untilMs - performance.now()) * 1_000)))
  }

  #open(): { descriptor: number; poll: Poll } {
    const descriptor = kernel.timerOpen()
    const poll = kernel.poll(descriptor, () => {
      kernel.timerClear(descriptor)
      this.#ring()
    })
    poll.start(1)
    return { descriptor, poll }
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
