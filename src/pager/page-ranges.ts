/** Pages of a file. */
export interface PageRange {
  readonly first: number
  readonly count: number
}

/** Which pages of a file are attached. */
export class PageRanges {
  /** Sorted, and apart. */
  #ranges: PageRange[] = []

  add(added: PageRange): void {
    const joined: PageRange[] = []
    for (const range of [...this.#ranges, added].sort((a, b) => a.first - b.first)) {
      const last = joined.at(-1)
      if (last === undefined || last.first + last.count < range.first) joined.push(range)
      else {
        const end = Math.max(last.first + last.count, range.first + range.count)
        joined[joined.length - 1] = { first: last.first, count: end - last.first }
      }
    }
    this.#ranges = joined
  }

  contains({ first, count }: PageRange): boolean {
    return this.following(first) >= count
  }

  /** How many pages are attached from this one on. */
  following(page: number): number {
    const range = this.#ranges.find(({ first, count }) => first <= page && page < first + count)
    return range === undefined ? 0 : range.first + range.count - page
  }
}
