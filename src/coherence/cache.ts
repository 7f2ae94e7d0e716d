import type { Batch } from './batch.js'
import { type CacheEffects, cacheBatch, effect } from './cache-effects.js'
import { CachePages, type State, state } from './cache-pages.js'
import { type Access, checkRange, type Keep, type Share, violation } from './terms.js'
import { Window } from './window.js'

export interface CacheOptions {
  readonly pageCount: number
  /** How long a page that just came is kept before an invalidate or a recall is answered. Milliseconds. */
  readonly holdMs: number
}

/** What home wants of a page: that it is dropped, or returned. */
type Demand = 'invalidate' | Keep

/** The whole state, as plain data, without the ages of pages. */
export interface CacheSnapshot {
  readonly pages: [page: number, state: State][]
  readonly demands: [page: number, demand: Demand][]
  readonly window: number[][]
}

const { absent, reading, writing, shared, upgrading, clean, dirty } = state

const arrived: Readonly<Record<Share, State>> = { shared, exclusive: dirty, clean }

const hasPage = (of: State) => of >= shared
const isExclusive = (of: State) => of >= clean
const isAsked = (of: State) => of === reading || of === writing || of === upgrading

/**
 * One node's copy of a file. No I/O and no clock: each event changes the state and calls effects, or
 * throws EPROTO and does neither. A thread that waits for a page is woken when something has changed
 * and faults again if that was not enough, so faults need no memory of their own.
 */
export class Cache {
  readonly #pageCount: number
  readonly #pages: CachePages
  readonly #batch: Batch
  readonly #window: Window
  /** Demands of home that wait until a page's time is over. */
  readonly #demands = new Map<number, Demand>()
  #faults = 0
  #pagesIn = 0
  #pagesOut = 0

  constructor(options: CacheOptions, effects: CacheEffects) {
    this.#pageCount = options.pageCount
    this.#pages = new CachePages(options.pageCount)
    this.#window = new Window(options.holdMs)
    this.#batch = cacheBatch(effects)
  }

  /** Faults, pages whose content came, pages whose content was sent. */
  get counters(): { readonly faults: number; readonly pagesIn: number; readonly pagesOut: number } {
    return { faults: this.#faults, pagesIn: this.#pagesIn, pagesOut: this.#pagesOut }
  }

  /** Bytes that the state of the pages takes. */
  get stateBytes(): number {
    return this.#pages.bytes
  }

  state(page: number): State {
    return this.#pages.get(page)
  }

  /** Runs of pages that are write-protected: they must be marked in a mapping that is added. */
  forEachProtected(visit: (first: number, count: number) => void): void {
    let [first, count] = [0, 0]
    this.#pages.forEach((page, of) => {
      if (!hasPage(of) || of === dirty) return
      if (first + count !== page && count > 0) visit(first, count)
      ;[first, count] = first + count === page && count > 0 ? [first, count + 1] : [page, 1]
    })
    if (count > 0) visit(first, count)
  }

  /**
   * A thread waits for a page. It may say so again, and may be late. `ahead` more pages behind it are
   * asked for with it, as far as they are in the same state.
   */
  fault(page: number, access: Access, ahead: number): void {
    this.#faults += 1
    this.#pages.tick()
    this.#pages.touch(page)
    const of = this.#pages.get(page)
    if (of === absent || (of === shared && access === 'write')) {
      const end = Math.min(this.#pageCount, page + 1 + ahead)
      for (let next = page; next < end && this.#pages.get(next) === of; next += 1) this.#ask(next, access)
    } else if (of === dirty && access === 'write') this.#batch.add(effect.unprotect, page)
    else if (of === clean && access === 'write') {
      this.#batch.add(effect.unprotect, page)
      this.#pages.set(page, dirty)
    } else if (hasPage(of) && access === 'read') this.#batch.add(effect.wake, page)
    this.#batch.flush()
  }

  /** Asks for what the cache does not have of a range. */
  prefetch(first: number, count: number, access: Access): void {
    for (let page = first; page < first + count; page += 1) {
      const of = this.#pages.get(page)
      if (of === absent || (of === shared && access === 'write')) this.#ask(page, access)
    }
    this.#batch.flush()
  }

  #ask(page: number, access: Access): void {
    this.#batch.add(access === 'read' ? effect.read : effect.write, page)
    this.#pages.set(page, access === 'read' ? reading : this.#pages.get(page) === shared ? upgrading : writing)
  }

  /** Pages that were asked for have come, for writing perhaps though they were asked for to read. */
  data(first: number, count: number, share: Share, now: number): void {
    checkRange('data', first, count, this.#pageCount)
    this.#each(first, count, (page) => {
      const of = this.#pages.get(page)
      if (of !== reading && (of !== writing || share !== 'exclusive'))
        violation('data', `page ${page} was not asked for as '${share}'`)
    })
    this.#pagesIn += count
    this.#pages.tick()
    this.#each(first, count, (page) => {
      this.#batch.add(share === 'exclusive' ? effect.installWritable : effect.installProtected, page, 0, page - first)
      this.#pages.set(page, arrived[share])
      this.#pages.touch(page)
    })
    this.#window.give(first, count, now)
    this.#batch.flush()
  }

  /** Pages that are here may be written. */
  grant(first: number, count: number, now: number): void {
    checkRange('grant', first, count, this.#pageCount)
    this.#each(first, count, (page) => {
      if (this.#pages.get(page) !== upgrading) violation('grant', `page ${page} was not asked for`)
    })
    this.#pages.tick()
    this.#each(first, count, (page) => {
      this.#batch.add(effect.unprotect, page)
      this.#pages.set(page, dirty)
      this.#pages.touch(page)
    })
    this.#window.give(first, count, now)
    this.#batch.flush()
  }

  /** Home wants shared pages dropped. */
  invalidate(first: number, count: number, now: number): void {
    this.#demand('invalidate', first, count, now, isExclusive)
  }

  /** Home wants pages that only this node has. */
  recall(first: number, count: number, keep: Keep, now: number): void {
    this.#demand(keep, first, count, now, (of) => of === shared || of === upgrading)
  }

  #demand(demand: Demand, first: number, count: number, now: number, isSenseless: (of: State) => boolean): void {
    const call = demand === 'invalidate' ? demand : 'recall'
    checkRange(call, first, count, this.#pageCount)
    this.#each(first, count, (page) => {
      if (isSenseless(this.#pages.get(page))) violation(call, `page ${page} is not here in that way`)
      if (this.#demands.has(page)) violation(call, `page ${page} is asked for already`)
    })
    this.#each(first, count, (page) => {
      const until = this.#window.until(page, now)
      if (until === 0) return this.#yield(page, demand)
      this.#demands.set(page, demand)
      this.#batch.add(effect.delay, page, 0, 0, until)
    })
    this.#batch.flush()
  }

  /** The time that `delay` asked for has come. */
  elapsed(first: number, count: number, now: number): void {
    this.#window.prune(now)
    this.#each(first, count, (page) => {
      const demand = this.#demands.get(page)
      if (demand === undefined) return
      const until = this.#window.until(page, now)
      if (until > 0) return this.#batch.add(effect.delay, page, 0, 0, until)
      this.#demands.delete(page)
      this.#yield(page, demand)
    })
    this.#batch.flush()
  }

  /** Does what home wants, and says so. */
  #yield(page: number, demand: Demand): void {
    const of = this.#pages.get(page)
    if (demand === 'invalidate') {
      // What is not here was dropped before home's word came, or has not come yet.
      if (hasPage(of)) this.#batch.add(effect.drop, page)
      this.#batch.add(effect.sendInvalidated, page)
      if (hasPage(of)) this.#pages.set(page, of === upgrading ? writing : absent)
      return
    }
    if (!isExclusive(of)) return this.#batch.add(effect.returnNothing, page)
    if (of === dirty) {
      this.#batch.add(effect.protect, page)
      this.#batch.add(effect.returnContent, page)
      this.#pagesOut += 1
    } else this.#batch.add(effect.returnUnchanged, page)
    if (demand === 'absent') this.#batch.add(effect.drop, page)
    this.#pages.set(page, demand === 'absent' ? absent : shared)
  }

  /** Sends home the dirty pages of a range; tells how many there were. */
  flush(first: number, count: number): number {
    const before = this.#pagesOut
    this.#pages.forEachDirty(first, count, (page) => {
      this.#batch.add(effect.protect, page)
      this.#batch.add(effect.putFlush, page)
      this.#pages.set(page, clean)
      this.#pagesOut += 1
    })
    this.#batch.flush()
    return this.#pagesOut - before
  }

  /**
   * Drops up to `count` pages, those that were asked for longest ago; tells how many. Pages that just
   * came and pages for which an answer is outstanding stay.
   */
  evict(count: number, now: number): number {
    const mayGo = (page: number, of: State) =>
      hasPage(of) && of !== upgrading && !this.#demands.has(page) && this.#window.until(page, now) === 0
    const dropped = this.#pages.oldest(count, mayGo, (page) => this.#drop(page))
    this.#batch.flush()
    return dropped
  }

  #drop(page: number): void {
    const of = this.#pages.get(page)
    this.#pages.set(page, absent)
    if (of === shared) {
      this.#batch.add(effect.drop, page)
      return this.#batch.add(effect.sendDropped, page)
    }
    if (of === dirty) this.#batch.add(effect.protect, page)
    this.#batch.add(effect.putEvict, page)
    this.#batch.add(effect.drop, page)
    this.#pagesOut += 1
  }

  /** Home is lost: every thread that waits is woken and everything is forgotten. */
  ended(): void {
    this.#pages.forEach((page, of) => {
      if (isAsked(of)) this.#batch.add(effect.wake, page)
    })
    this.#pages.clear()
    this.#demands.clear()
    this.#window.clear()
    this.#batch.flush()
  }

  #each(first: number, count: number, visit: (page: number) => void): void {
    for (let page = first; page < first + count; page += 1) visit(page)
  }

  snapshot(): CacheSnapshot {
    const pages: CacheSnapshot['pages'] = []
    this.#pages.forEach((page, of) => {
      pages.push([page, of])
    })
    return { pages, demands: [...this.#demands], window: this.#window.snapshot() }
  }

  /** A machine in the state that another one told. */
  static from(snapshot: CacheSnapshot, options: CacheOptions, effects: CacheEffects): Cache {
    const cache = new Cache(options, effects)
    for (const [page, of] of snapshot.pages) cache.#pages.set(page, of)
    for (const [page, demand] of snapshot.demands) cache.#demands.set(page, demand)
    cache.#window.restore(snapshot.window)
    return cache
  }
}
