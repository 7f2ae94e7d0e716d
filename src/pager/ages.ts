import { pagesPerChunk } from '../coherence/terms.js'
import type { RolledBack } from './home-file.js'

/** Times are kept in seconds, in two bytes a page: they come round after 18 hours. */
const secondsInAll = 65_536

/** When each page that is given away was last known here; nothing is kept of pages that never were. */
export class Ages {
  readonly #chunks: (Uint16Array | undefined)[]

  constructor(pageCount: number) {
    this.#chunks = new Array(Math.ceil(pageCount / pagesPerChunk))
  }

  set(first: number, count: number): void {
    const now = seconds()
    for (let page = first; page < first + count; page += 1) this.#chunk(page)[page % pagesPerChunk] = now
  }

  /** Runs of pages of the same age, in milliseconds, which is that at the most. */
  of(first: number, count: number): RolledBack[] {
    const now = seconds()
    const runs: { first: number; count: number; ageMs: number }[] = []
    for (let page = first; page < first + count; page += 1) {
      const since = this.#chunk(page)[page % pagesPerChunk] as number
      const ageMs = (((now - since + secondsInAll) % secondsInAll) + 1) * 1_000
      const last = runs.at(-1)
      if (last?.ageMs === ageMs) last.count += 1
      else runs.push({ first: page, count: 1, ageMs })
    }
    return runs
  }

  #chunk(page: number): Uint16Array {
    const index = Math.floor(page / pagesPerChunk)
    const chunk = this.#chunks[index] ?? new Uint16Array(pagesPerChunk)
    this.#chunks[index] = chunk
    return chunk
  }
}

function seconds(): number {
  return Math.floor(performance.now() / 1_000) % secondsInAll
}
