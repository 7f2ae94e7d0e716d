import { countFirst } from '../sorted.js'

/** A piece of a segment and where it lies in one of the segment's files. Bytes. */
export interface Extent {
  readonly offset: number
  readonly length: number
  /**
   * Which file, by its position in the segment's list; `noFile` where nothing is mapped, and below that
   * for memory that is withheld, of which `fileOffset` is the mark.
   */
  readonly file: number
  readonly fileOffset: number
}

/** The file of a hole. Its `fileOffset` is its offset. */
export const noFile = -1

/** The file of memory that is withheld for a reason, and the reason that this says; 0 of other files. */
export const withheldFile = (reason: number) => noFile - reason
export const withheldReasonOf = (file: number) => Math.max(0, noFile - file)

const end = (extent: Extent) => extent.offset + extent.length

function part(extent: Extent, from: number, to: number): Extent {
  return {
    offset: from,
    length: to - from,
    file: extent.file,
    fileOffset: extent.fileOffset + (from - extent.offset),
  }
}

function follows(left: Extent, right: Extent): boolean {
  return end(left) === right.offset && left.file === right.file && left.fileOffset + left.length === right.fileOffset
}

function joined(pieces: readonly Extent[]): Extent[] {
  const result: Extent[] = []
  for (const piece of pieces) {
    const last = result.at(-1)
    if (last !== undefined && follows(last, piece)) {
      result[result.length - 1] = { ...last, length: last.length + piece.length }
    } else {
      result.push(piece)
    }
  }
  return result
}

/** Which parts of a segment lie in files already: sorted, without overlap, joined where they can be. */
export class ExtentMap {
  #extents: Extent[] = []

  get size(): number {
    return this.#extents.length
  }

  /** Adds a piece; it replaces what was known of the same offsets. */
  insert(added: Extent): void {
    this.#replace(added, [added])
  }

  /** Forgets what is known of ranges, which are in ascending order and do not overlap. */
  remove(ranges: readonly { offset: number; length: number }[]): void {
    const kept: Extent[] = []
    let first = 0
    for (const extent of this.#extents) {
      let reached = extent.offset
      for (let range = ranges[first]; range !== undefined && range.offset < end(extent); range = ranges[first]) {
        if (range.offset > reached) kept.push(part(extent, reached, range.offset))
        reached = Math.max(reached, range.offset + range.length)
        // One that reaches further has some of the next piece too.
        if (reached > end(extent)) break
        first += 1
      }
      if (reached === extent.offset) kept.push(extent)
      else if (reached < end(extent)) kept.push(part(extent, reached, end(extent)))
    }
    this.#extents = kept
  }

  #replace(added: { offset: number; length: number }, inserted: Extent[]): void {
    const first = this.#endingAfter(added.offset)
    let beyond = first
    for (let next = this.#extents[beyond]; next !== undefined && next.offset < added.offset + added.length; ) {
      beyond += 1
      next = this.#extents[beyond]
    }
    const replaced = this.#extents.slice(first, beyond)
    const [left, right] = [replaced[0], replaced.at(-1)]
    const stop = added.offset + added.length
    const pieces = inserted
    if (left !== undefined && left.offset < added.offset) pieces.unshift(part(left, left.offset, added.offset))
    if (right !== undefined && end(right) > stop) pieces.push(part(right, stop, end(right)))
    const [before, after] = [this.#extents[first - 1], this.#extents[beyond]]
    const from = before === undefined ? first : first - 1
    const to = after === undefined ? beyond : beyond + 1
    if (before !== undefined) pieces.unshift(before)
    if (after !== undefined) pieces.push(after)
    const replacement = joined(pieces)
    // A copy has no spare room, which each of many small maps would keep; a large one is not copied.
    if (this.#extents.length < 64) this.#extents = this.#extents.toSpliced(from, to - from, ...replacement)
    else this.#extents.splice(from, to - from, ...replacement)
  }

  /** The position of the first piece that ends after the offset. */
  #endingAfter(offset: number): number {
    return countFirst(this.#extents, (extent) => end(extent) <= offset)
  }

  /** The pieces that touch the range, whole. */
  touching(offset: number, length: number): Extent[] {
    const found: Extent[] = []
    for (let index = this.#endingAfter(offset); ; index += 1) {
      const extent = this.#extents[index]
      if (extent === undefined || extent.offset >= offset + length) return found
      found.push(extent)
    }
  }

  /** The first offset in the range that is in no file, or undefined if all of it is. */
  firstGap(offset: number, length: number): number | undefined {
    let reached = offset
    for (const extent of this.touching(offset, length)) {
      if (extent.offset > reached) return reached
      reached = end(extent)
    }
    return reached < offset + length ? reached : undefined
  }

  /** Where the next piece at or after the offset begins, or `limit`. */
  nextKnown(offset: number, limit: number): number {
    const next = this.#extents[this.#endingAfter(offset)]
    return next === undefined ? limit : Math.min(limit, Math.max(next.offset, offset))
  }

  /** The pieces that lie in one of these files. */
  in(files: ReadonlySet<number>): Extent[] {
    return this.#extents.filter((extent) => files.has(extent.file))
  }

  /** The files that some piece lies in. */
  files(): Set<number> {
    return new Set(this.#extents.map((extent) => extent.file))
  }

  clear(): void {
    this.#extents = []
  }
}
