import type { FaultHandler } from '../../src/pager/paged-file.js'

/** Nothing comes of a fault. */
export const idleHandler: FaultHandler = {
  fault: () => {},
  prefetch: async () => {},
  flush: async () => {},
  forEachProtected: () => {},
  stats: { faults: 0, pagesIn: 0, pagesOut: 0, waitedMs: 0 },
}
