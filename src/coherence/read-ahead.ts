/** The most pages that are asked for at once. */
const maxPages = 256
/** How many interleaved streams are recognised. */
const maxStreams = 4

interface Stream {
  /** The last page that was asked for, */
  last: number
  /** and how many pages with it. */
  size: number
}

/**
 * Guesses from the faults of one file how many pages behind a faulting one will be wanted. A fault
 * that goes on where another one's pages end doubles their number; any other gets none.
 */
export class ReadAhead {
  /** The one that went on last is the last. */
  readonly #streams: Stream[] = []

  /** How many pages to ask for beyond the one that faults. */
  next(page: number): number {
    const index = this.#streams.findIndex(({ last, size }) => last <= page && page <= last + size)
    const known = index < 0 ? undefined : this.#streams.splice(index, 1)[0]
    const stream = known ?? { last: page, size: 1 }
    // The same page again is a store to what was read: as much is wanted for writing.
    if (stream.last !== page) stream.size = Math.min(2 * stream.size, maxPages)
    stream.last = page
    this.#streams.push(stream)
    if (this.#streams.length > maxStreams) this.#streams.shift()
    return stream.size - 1
  }
}
