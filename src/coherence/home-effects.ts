import { Batch } from './batch.js'
import type { Keep, Placing, Share } from './terms.js'

/**
 * What the home has done outside. Called in the order in which it must be carried out, each call
 * complete before the next; none may call the machine, and one that throws leaves the file to be given
 * up. Pages are counted in the file, `nth` is the position of the first page in the content that came
 * with the event.
 */
export interface HomeEffects {
  /** Write-protects the pages in every mapping of home; after it no store gets through. */
  protect(first: number, count: number): void
  /** Makes them writable again and wakes the threads that wait for them. */
  unprotect(first: number, count: number): void
  /** Keeps their content aside, which is protected. */
  aside(first: number, count: number): void
  /** A flush: what came replaces what is kept aside. */
  updateAside(first: number, count: number, nth: number): void
  /** Puts what came into home's memory, which has a hole there, and forgets what is aside. */
  install(first: number, count: number, nth: number, placing: Placing): void
  /** Puts what is aside back into home's memory, which has a hole there: its node is lost. */
  restore(first: number, count: number, placing: Placing): void
  /** The same, as the node has not changed it. */
  putBack(first: number, count: number, placing: Placing): void
  /**
   * Sends the content to a node: of 'shared' pages that in home's memory, else what is aside. Neither
   * changes before the node has answered.
   */
  data(node: number, first: number, count: number, share: Share): void
  /** Tells a node that it may write what it has. */
  grant(node: number, first: number, count: number): void
  /** Takes the pages out of home's memory; every mapping then faults as missing. */
  take(first: number, count: number): void
  /** Threads of home that wait for the pages may try again; where a page has no content yet it is zeros. */
  wake(first: number, count: number): void
  invalidate(node: number, first: number, count: number): void
  recall(node: number, first: number, count: number, keep: Keep): void
  /** Asks for `elapsed` at that time, of the clock that the events bring. */
  delay(first: number, count: number, untilMs: number): void
}

/** The order in which effects on one page are carried out. */
export const effect = {
  protect: 0,
  updateAside: 1,
  installWritable: 2,
  installProtected: 3,
  restoreWritable: 4,
  restoreProtected: 5,
  putBackWritable: 6,
  putBackProtected: 7,
  aside: 8,
  dataShared: 9,
  dataExclusive: 10,
  dataClean: 11,
  grant: 12,
  take: 13,
  unprotect: 14,
  wake: 15,
  invalidate: 16,
  recallToShared: 17,
  recallToAbsent: 18,
  delay: 19,
} as const

export function homeBatch(effects: HomeEffects): Batch {
  return new Batch(({ effect: which, node, time, first, count, nth }) => {
    switch (which) {
      case effect.protect:
        return effects.protect(first, count)
      case effect.updateAside:
        return effects.updateAside(first, count, nth)
      case effect.installWritable:
        return effects.install(first, count, nth, 'writable')
      case effect.installProtected:
        return effects.install(first, count, nth, 'protected')
      case effect.restoreWritable:
        return effects.restore(first, count, 'writable')
      case effect.restoreProtected:
        return effects.restore(first, count, 'protected')
      case effect.putBackWritable:
        return effects.putBack(first, count, 'writable')
      case effect.putBackProtected:
        return effects.putBack(first, count, 'protected')
      case effect.aside:
        return effects.aside(first, count)
      case effect.dataShared:
        return effects.data(node, first, count, 'shared')
      case effect.dataExclusive:
        return effects.data(node, first, count, 'exclusive')
      case effect.dataClean:
        return effects.data(node, first, count, 'clean')
      case effect.grant:
        return effects.grant(node, first, count)
      case effect.take:
        return effects.take(first, count)
      case effect.unprotect:
        return effects.unprotect(first, count)
      case effect.wake:
        return effects.wake(first, count)
      case effect.invalidate:
        return effects.invalidate(node, first, count)
      case effect.recallToShared:
        return effects.recall(node, first, count, 'shared')
      case effect.recallToAbsent:
        return effects.recall(node, first, count, 'absent')
      case effect.delay:
        return effects.delay(first, count, time)
    }
  })
}
