import { pagesPerChunk } from './terms.js'

/** What a cache has of a page, and what it has asked for. */
export const state = {
  absent: 0,
  /** Absent, asked for reading. */
  reading: 1,
  /** Absent, asked for writing. */
  writing: 2,
  shared: 3,
  /** Shared, asked for writing. */
  upgrading: 4,
  /** Writable by right, but protected: home has this content since the last flush. */
  clean: 5,
  /** Writable; home has an older content. */
  dirty: 6,
} as const

export type State = (typeof state)[keyof typeof state]

interface Chunk {
  readonly states: Uint8Array
  readonly stamps: Uint32Array
  /** Pages that are not absent. */
  used: number
  dirty: number
}

/** Of an age. */
const digitBits = 8

/** What a cache has of each page and when the page was last asked for, in 5 bytes a page. */
export class CachePages {
  readonly pageCount: number
  #chunks: (Chunk | undefined)[] = []
  /** Counts events. It may go round: only ages are compared. */
  #clock = 0

  constructor(pageCount: number) {
    this.pageCount = pageCount
  }

  get bytes(): number {
    return this.#chunks.reduce(
      (sum, chunk) => sum + (chunk === undefined ? 0 : chunk.states.byteLength + chunk.stamps.byteLength),
      0,
    )
  }

  get(page: number): State {
    return (this.#chunks[Math.floor(page / pagesPerChunk)]?.states[page % pagesPerChunk] ?? 0) as State
  }

  set(page: number, to: State): void {
    const chunk = this.#chunk(page)
    const at = page % pagesPerChunk
    const from = chunk.states[at]
    chunk.states[at] = to
    chunk.used += (to === state.absent ? 0 : 1) - (from === state.absent ? 0 : 1)
    chunk.dirty += (to === state.dirty ? 1 : 0) - (from === state.dirty ? 1 : 0)
  }

  #chunk(page: number): Chunk {
    const index = Math.floor(page / pagesPerChunk)
    const known = this.#chunks[index]
    if (known !== undefined) return known
    const length = Math.min(pagesPerChunk, this.pageCount - index * pagesPerChunk)
    const chunk = { states: new Uint8Array(length), stamps: new Uint32Array(length), used: 0, dirty: 0 }
    this.#chunks[index] = chunk
    return chunk
  }

  /** One event has passed: what is touched from now on is younger. */
  tick(): void {
    this.#clock = (this.#clock + 1) >>> 0
  }

  touch(page: number): void {
    this.#chunk(page).stamps[page % pagesPerChunk] = this.#clock
  }

  /** The pages that are not absent, ascending; each may be changed when it is visited. */
  forEach(visit: (page: number, state: State) => void): void {
    this.#scan(0, this.pageCount, 'used', visit)
  }

  /** The dirty pages of a range, likewise. */
  forEachDirty(first: number, count: number, visit: (page: number) => void): void {
    this.#scan(first, count, 'dirty', (page, of) => {
      if (of === state.dirty) visit(page)
    })
  }

  #scan(first: number, count: number, need: 'used' | 'dirty', visit: (page: number, state: State) => void): void {
    const end = first + count
    for (let page = first; page < end; ) {
      const index = Math.floor(page / pagesPerChunk)
      const chunk = this.#chunks[index]
      const stop = Math.min(end, (index + 1) * pagesPerChunk)
      if (chunk === undefined || chunk[need] === 0) page = stop
      for (; page < stop; page += 1) {
        const of = (chunk?.states[page % pagesPerChunk] ?? 0) as State
        if (of !== state.absent) visit(page, of)
      }
    }
  }

  /** Visits `count` of the pages that may go, those that were touched longest ago; tells how many there were. */
  oldest(count: number, mayGo: (page: number, state: State) => boolean, visit: (page: number) => void): number {
    const age = (page: number) => (this.#clock - (this.#chunk(page).stamps[page % pagesPerChunk] as number)) >>> 0
    // The age from which pages go is found digit by digit, so that nothing is kept for each page.
    let limit = 0
    let left = count
    for (let shift = 32 - digitBits; shift >= 0; shift -= digitBits) {
      const sizes = new Uint32Array(1 << digitBits)
      const above = 2 ** (shift + digitBits)
      this.forEach((page, of) => {
        if (!mayGo(page, of) || Math.floor(age(page) / above) !== limit) return
        const digit = (age(page) >>> shift) % sizes.length
        sizes[digit] = (sizes[digit] as number) + 1
      })
      let digit = sizes.length - 1
      for (; digit > 0 && (sizes[digit] as number) < left; digit -= 1) left -= sizes[digit] as number
      limit = limit * sizes.length + digit
    }
    let visited = 0
    this.forEach((page, of) => {
      if (!mayGo(page, of) || age(page) < limit) return
      if (age(page) === limit && --left < 0) return
      visited += 1
      visit(page)
    })
    return visited
  }

  clear(): void {
    this.#chunks = []
  }
}
