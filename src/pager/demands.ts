/** What was demanded of somebody and not answered yet; an alarm if nothing of it comes for too long. */
export class Demands {
  readonly #timeoutMs: number
  readonly #late: () => void
  #open = 0
  #timer: NodeJS.Timeout | undefined

  constructor(timeoutMs: number, late: () => void) {
    this.#timeoutMs = timeoutMs
    this.#late = late
  }

  made(count: number): void {
    this.#open += count
    if (this.#timer === undefined) this.#start()
  }

  met(count: number): void {
    this.#open -= count
    if (this.#open > 0) this.#timer?.refresh()
    else this.close()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #start(): void {
    this.#timer = setTimeout(this.#late, this.#timeoutMs)
    this.#timer.unref()
  }
}
