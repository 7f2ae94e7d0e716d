/** How much of something one process may have the service keep, as a part of how much all may together. */
export class Allowance {
  readonly #most: number
  readonly #ofAll: Allowance | undefined
  #used = 0

  constructor(most: number, ofAll?: Allowance) {
    this.#most = most
    this.#ofAll = ofAll
  }

  /** Takes all of it, or nothing and false. */
  take(count: number): boolean {
    if (this.#used + count > this.#most || this.#ofAll?.take(count) === false) return false
    this.#used += count
    return true
  }

  give(count: number): void {
    this.#used -= count
    this.#ofAll?.give(count)
  }
}

/** What the memory of a process's segments may take of the service. */
export interface MemoryAllowance {
  /** Memfds, which take two descriptors each. */
  readonly files: Allowance
  /** Pieces that the memory lies in. */
  readonly extents: Allowance
}
