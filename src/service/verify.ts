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
  if (!mapping.shared || mapping.identity !== identity) return false
  return mapping.fileOffset + (at - mappedAt) === extent.fileOffset + (at - extent.offset)
}

/**
 * Which parts of what is known of a segment are so no more: its owner unmapped that memory, or mapped
 * something else there. `base` is the owner's address of offset 0; `mappings` are the owner's, in
 * ascending order, and all of those that have some of a known piece.
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
  const pieces = mappings.map((mapping) => ({
    mapping,
    offset: Number(mapping.start - base),
    stop: Number(mapping.end - base),
  }))
  for (const extent of known) {
    const extentStop = extent.offset + extent.length
    const identity = identityOf(extent.file)
    let reached = extent.offset
    for (const { mapping, offset, stop } of pieces) {
      if (stop <= reached || offset >= extentStop) continue
      if (extent.file !== noFile) add(reached, offset)
      const from = Math.max(reached, offset)
      reached = Math.min(stop, extentStop)
      if (!shows(extent, identity, from, mapping, offset)) add(from, reached)
    }
    if (extent.file !== noFile) add(reached, extentStop)
  }
  return stale
}
