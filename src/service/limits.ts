import { Allowance, type MemoryAllowance } from './allowance.js'

/** Pieces that the memory of one process's segments may lie in. */
const maxExtentsPerGroup = 262_144

/**
 * Bytes of V8's heap for each permit, piece of memory and segment that there may be, several times
 * what one takes, so that many processes together do not end the service.
 */
const heapBytesPer = { permit: 1_024, extent: 1_024, segment: 8_192 }

/**
 * What the service's descriptors go to: up to half for connections, pidfds, mappings that are looked
 * at and what waits to be closed, up to 3/8 for memfds, which take two each, and up to a quarter for
 * those of one process. The rest stays free, so that a message never comes without its descriptors.
 * And how many there may be of what takes memory.
 */
export function limitsOf(openFiles: number, heapBytes: number) {
  const filesPerGroup = Math.floor(openFiles / 8)
  const permits = Math.floor(heapBytes / heapBytesPer.permit)
  return {
    segmentsPerGroup: Math.min(65_536, filesPerGroup),
    permitsPerGroup: Math.min(1_048_576, Math.floor(permits / 4)),
    segments: Math.floor(heapBytes / heapBytesPer.segment),
    permits,
    extents: Math.floor(heapBytes / heapBytesPer.extent),
    connections: Math.floor(openFiles / 2),
    files: Math.floor((openFiles * 3) / 16),
    filesPerGroup,
  }
}

/** What the memory of each process may take, of what there is for all together. */
export function allowances(limits: ReturnType<typeof limitsOf>): () => MemoryAllowance {
  const files = new Allowance(limits.files)
  const extents = new Allowance(limits.extents)
  return () => ({
    files: new Allowance(limits.filesPerGroup, files),
    extents: new Allowance(maxExtentsPerGroup, extents),
  })
}
