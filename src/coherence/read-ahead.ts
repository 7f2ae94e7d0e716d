/** The most pages that are asked for at once. */
const maxPages = 256
/** How many interleaved streams are recognised. */
const maxStreams = 4

interface Stream {
  /** Up to where pages were asked for, */
  end: number
  /** how many the last time, */
  size: number
  /** and the time before. */
  before: number
}

/**
 * Guesses from the faults of one file how many pages behind a faulting one will be wanted. A fault
 * where another one's pages end doubles their number; one among those that were asked for last asks for
 * the next ones already, so that they are on their way while these are used. Any other gets none.
 */
export class ReadAhead {
  /** The one that went on last is the last. */
  readonly #streams: Stream[] = []

  /** How many pages should have been asked for beyond the one that faults. */
  next(page: number): number {
    const index = this.#streams.findIndex(({ end, size, before }) => end - size - before <= page && page <= end)
    const stream = (index < 0 ? undefined : this.#streams.splice(index, 1)[0]) ?? { end: page, size: 0, before: 0 }
    // Not at the first of them: others may fault there too, or the same thread again.
    if (stream.size === 0 || page > stream.end - stream.size) {
      stream.before = stream.size
      stream.size = Math.min(Math.max(2 * stream.size, 1), maxPages)
      stream.end += stream.size
    }
    this.#streams.push(stream)
    if (this.#streams.length > maxStreams) this.#streams.shift()
    return stream.end - page - 1
  }
}
