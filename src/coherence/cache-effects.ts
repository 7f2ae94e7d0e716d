import { Batch } from './batch.js'
import type { Access, Placing, Put, Returned } from './terms.js'

/**
 * What a cache has done outside. Called in the order in which it must be carried out, each call
 * complete before the next; none may call the machine, and one that throws leaves the file to be given
 * up. Pages are counted in the file, `nth` is the position of the first page in the content that came
 * with the event.
 */
export interface CacheEffects {
  /** Asks home for the pages; of those asked for writing some may be here already, as shared ones. */
  request(access: Access, first: number, count: number): void
  /** Puts what came into the cache's memory, which has a hole there, and wakes the threads that wait for it. */
  install(first: number, count: number, nth: number, placing: Placing): void
  /** Write-protects the pages in every mapping of the cache; after it no store gets through. */
  protect(first: number, count: number): void
  /** Makes them writable again and wakes the threads that wait for them. */
  unprotect(first: number, count: number): void
  /** Takes the pages out of the cache's memory; every mapping then faults as missing. */
  drop(first: number, count: number): void
  /** Answers a recall; 'content' is read from the cache's memory now. */
  sendReturned(first: number, count: number, returned: Returned): void
  sendInvalidated(first: number, count: number): void
  /** Sends the content, which is read from the cache's memory now. */
  sendPut(first: number, count: number, put: Put): void
  sendDropped(first: number, count: number): void
  /** Threads that wait for the pages may try again. */
  wake(first: number, count: number): void
  /** Asks for `elapsed` at that time, of the clock that the events bring. */
  delay(first: number, count: number, untilMs: number): void
}

/** The order in which effects on one page are carried out. */
export const effect = {
  protect: 0,
  installWritable: 1,
  installProtected: 2,
  returnContent: 3,
  returnUnchanged: 4,
  returnNothing: 5,
  putFlush: 6,
  putEvict: 7,
  drop: 8,
  sendInvalidated: 9,
  sendDropped: 10,
  unprotect: 11,
  wake: 12,
  read: 13,
  write: 14,
  delay: 15,
} as const

export function cacheBatch(effects: CacheEffects): Batch {
  return new Batch(({ effect: which, time, first, count, nth }) => {
    switch (which) {
      case effect.protect:
        return effects.protect(first, count)
      case effect.installWritable:
        return effects.install(first, count, nth, 'writable')
      case effect.installProtected:
        return effects.install(first, count, nth, 'protected')
      case effect.returnContent:
        return effects.sendReturned(first, count, 'content')
      case effect.returnUnchanged:
        return effects.sendReturned(first, count, 'unchanged')
      case effect.returnNothing:
        return effects.sendReturned(first, count, 'already')
      case effect.putFlush:
        return effects.sendPut(first, count, 'flush')
      case effect.putEvict:
        return effects.sendPut(first, count, 'evict')
      case effect.drop:
        return effects.drop(first, count)
      case effect.sendInvalidated:
        return effects.sendInvalidated(first, count)
      case effect.sendDropped:
        return effects.sendDropped(first, count)
      case effect.unprotect:
        return effects.unprotect(first, count)
      case effect.wake:
        return effects.wake(first, count)
      case effect.read:
        return effects.request('read', first, count)
      case effect.write:
        return effects.request('write', first, count)
      case effect.delay:
        return effects.delay(first, count, time)
    }
  })
}
