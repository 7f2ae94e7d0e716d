import type { Mapping } from '../kernel/index.js'
import { type Extent, noFile } from './extents.js'

/** A part of a segment, in bytes. */
export interface Part {
  readonly offset: number
  readonly length: number
}

/** What one mapping of the owner says of a piece that was thought to lie in a file. */
function shows(extent: Extent, identity: string | undefined, at: number, mapping: Mapping, mappedAt: number): boolean {
  if (extent.file === noFile) return !mapping.readable
  if (extent.file < noFile) return mapping.mark + (at - mappedAt) === extent.fileOffset + (at - extent.offset)
  if (!mapping.shared || mapping.identity !== identity) return false
  return mapping.fileOffset + (at - mappedAt) === extent.fileOffset + (at - extent.offset)
}

/**
 * Which parts of what is known of a segment are so no more: its owner unmapped that memory, or mapped
 * something else there. `base` is the owner's address of offset 0; `known` and `mappings`, the owner's,
 * are in ascending order, and these are all that have some of a known piece. So are the parts.
 */
export function staleParts(
  base: bigint,
  known: readonly Extent[],
  identityOf: (file: number) => string | undefined,
  mappings: readonly Mapping[],
): Part[] {
  const stale: Part[] = []
  const add = (offset: number, stop: number) => {
    if (stop > offset) stale.push({ offset, length: stop - offset })
  }
  // Both are walked together: the first mapping that may have some of this piece, or of one after it.
  let first = 0
  for (const extent of known) {
    const extentStop = extent.offset + extent.length
    const identity = identityOf(extent.file)
    let reached = extent.offset
    for (let index = first; reached < extentStop; index += 1) {
      const mapping = mappings[index]
      if (mapping === undefined) break
      const [offset, stop] = [Number(mapping.start - base), Number(mapping.end - base)]
      if (offset >= extentStop) break
      first = index
      if (stop <= reached) continue
      if (extent.file !== noFile) add(reached, offset)
      const from = Math.max(reached, offset)
      reached = Math.min(stop, extentStop)
      if (!shows(extent, identity, from, mapping, offset)) add(from, reached)
    }
    if (extent.file !== noFile) add(reached, extentStop)
  }
  return stale
}
