/** A piece of a segment and where it lies in one of the segment's files. Bytes. */
export interface Extent {
  readonly offset: number
  readonly length: number
  /** Which file, by its position in the segment's list. */
  readonly file: number
  readonly fileOffset: number
}

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

/** Which parts of a segment lie in files already: sorted, without overlap, joined where they can be. */
export class ExtentMap {
  #extents: Extent[] = []

  /** Adds a piece; it replaces what was known of the same offsets. */
  insert(added: Extent): void {
    const before = this.#extents.filter((extent) => extent.offset < added.offset)
    const after = this.#extents.filter((extent) => end(extent) > end(added))
    const kept = [
      ...before.map((extent) => part(extent, extent.offset, Math.min(end(extent), added.offset))),
      added,
      ...after.map((extent) => part(extent, Math.max(extent.offset, end(added)), end(extent))),
    ]
    const joined: Extent[] = []
    for (const extent of kept) {
      const last = joined.at(-1)
      if (last !== undefined && follows(last, extent)) joined[joined.length - 1] = part(last, last.offset, end(extent))
      else joined.push(extent)
    }
    // A copy has no spare room, which every segment would keep.
    this.#extents = joined.slice()
  }

  /** The pieces that touch the range, whole. */
  touching(offset: number, length: number): Extent[] {
    return this.#extents.filter((extent) => extent.offset < offset + length && end(extent) > offset)
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

  clear(): void {
    this.#extents = []
  }
}
