import { SharerSets } from './sharers.js'
import { pagesPerChunk, valueBits } from './terms.js'

export type PageState = 'home' | 'shared' | 'far'

// A word a page. Bits from the bottom: state (2), busy (1), turns (3), node or sharer set. 0 is `home`.
const stateMask = 3
const shared = 1
const far = 2
const busy = 4
const turnsShift = 3
const turnsMask = 7 << turnsShift
const valueShift = 32 - valueBits
/** What a page keeps when somebody else gets it. */
const keptMask = busy | turnsMask

/** Who has each page of a file, in 4 bytes a page where anything but `home` was ever said. */
export class Directory {
  readonly pageCount: number
  readonly #sets = new SharerSets()
  readonly #chunks: (Uint32Array | undefined)[] = []
  /** How many words of each chunk are not 0. */
  readonly #used: number[] = []
  #size = 0

  constructor(pageCount: number) {
    this.pageCount = pageCount
  }

  /** Bytes that the words take. */
  get bytes(): number {
    return this.#chunks.reduce((sum, chunk) => sum + (chunk?.byteLength ?? 0), 0)
  }

  /** How many pages are not `home`, or are waited for. */
  get size(): number {
    return this.#size
  }

  /** How many different sets of sharers pages have, and the empty one. */
  get setCount(): number {
    return this.#sets.size
  }

  #word(page: number): number {
    return this.#chunks[Math.floor(page / pagesPerChunk)]?.[page % pagesPerChunk] ?? 0
  }

  #write(page: number, word: number): void {
    const index = Math.floor(page / pagesPerChunk)
    const chunk = this.#chunks[index] ?? this.#allocate(index)
    const before = chunk[page % pagesPerChunk] as number
    chunk[page % pagesPerChunk] = word
    const used = this.#used[index] as number
    this.#used[index] = used + (word === 0 ? 0 : 1) - (before === 0 ? 0 : 1)
    this.#size += ((word & ~turnsMask) === 0 ? 0 : 1) - ((before & ~turnsMask) === 0 ? 0 : 1)
    if ((word & stateMask) === shared) this.#sets.retain(word >>> valueShift)
    if ((before & stateMask) === shared) this.#sets.release(before >>> valueShift)
  }

  #allocate(index: number): Uint32Array {
    const chunk = new Uint32Array(Math.min(pagesPerChunk, this.pageCount - index * pagesPerChunk))
    this.#chunks[index] = chunk
    this.#used[index] = 0
    return chunk
  }

  state(page: number): PageState {
    const state = this.#word(page) & stateMask
    return state === shared ? 'shared' : state === far ? 'far' : 'home'
  }

  /** What is known of turns that nodes take with the page; 0 at first. */
  turns(page: number): number {
    return (this.#word(page) & turnsMask) >>> turnsShift
  }

  setTurns(page: number, turns: number): void {
    this.#write(page, ((this.#word(page) & ~turnsMask) | (turns << turnsShift)) >>> 0)
  }

  isBusy(page: number): boolean {
    return (this.#word(page) & busy) !== 0
  }

  /** The node that may write a `far` page; 0 for any other page. */
  owner(page: number): number {
    const word = this.#word(page)
    return (word & stateMask) === far ? word >>> valueShift : 0
  }

  /** The nodes that read a `shared` page; none for any other page. */
  sharers(page: number): readonly number[] {
    return this.#sets.members(this.#set(page))
  }

  isSharer(page: number, node: number): boolean {
    return this.#sets.has(this.#set(page), node)
  }

  #set(page: number): number {
    const word = this.#word(page)
    return (word & stateMask) === shared ? word >>> valueShift : 0
  }

  setBusy(page: number): void {
    this.#write(page, (this.#word(page) | busy) >>> 0)
  }

  clearBusy(page: number): void {
    this.#write(page, (this.#word(page) & ~busy) >>> 0)
  }

  setHome(page: number): void {
    this.#write(page, this.#word(page) & keptMask)
  }

  setFar(page: number, node: number): void {
    this.#write(page, ((node << valueShift) | (this.#word(page) & keptMask) | far) >>> 0)
  }

  /** The page is shared, by none if it was not. */
  setShared(page: number): void {
    this.#share(page, this.#set(page))
  }

  addSharer(page: number, node: number): void {
    this.#share(page, this.#sets.with(this.#set(page), node))
  }

  removeSharer(page: number, node: number): void {
    this.#share(page, this.#sets.without(this.#set(page), node))
  }

  #share(page: number, set: number): void {
    this.#write(page, ((set << valueShift) | (this.#word(page) & keptMask) | shared) >>> 0)
  }

  /**
   * Every page that is not `home`, is waited for, or has turns that are known, ascending; each may be
   * changed when it is visited.
   */
  forEach(visit: (page: number) => void): void {
    for (let page = 0; page < this.pageCount; ) {
      const index = Math.floor(page / pagesPerChunk)
      const chunk = this.#chunks[index]
      const stop = Math.min(this.pageCount, (index + 1) * pagesPerChunk)
      if (chunk === undefined || this.#used[index] === 0) page = stop
      for (; page < stop; page += 1) if (chunk?.[page % pagesPerChunk] !== 0) visit(page)
    }
  }

  /** Gives back the words of pages that are all `home`, and forgets their turns if no page is anything else. */
  trim(): void {
    this.#used.forEach((used, index) => {
      if (used > 0 && this.#size > 0) return
      this.#chunks[index] = undefined
      this.#used[index] = 0
    })
  }
}
