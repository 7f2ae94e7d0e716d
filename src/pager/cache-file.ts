import { Cache } from '../coherence/cache.js'
import type { CacheEffects } from '../coherence/cache-effects.js'
import { ReadAhead } from '../coherence/read-ahead.js'
import type { Access, Keep, Placing, Put, Returned, Share } from '../coherence/terms.js'
import { kernel } from '../kernel/index.js'
import { Descriptor } from '../transport/descriptor.js'
import { Alarm } from './alarm.js'
import { Asks } from './asks.js'
import type { Budget, Evictable } from './budget.js'
import type { ReadPages } from './home-file.js'
import { type PageRange, PageRanges } from './page-ranges.js'
import { type FaultHandler, PagedFile, type PagingStats } from './paged-file.js'

/** The home of a file, as a cache speaks with it. `read` puts the content of some of the pages into a message. */
export interface FarHome {
  request(access: Access, first: number, count: number): void
  returned(first: number, count: number, returned: Returned, read: ReadPages): void
  invalidated(first: number, count: number): void
  put(first: number, count: number, put: Put, read: ReadPages): void
  dropped(first: number, count: number): void
  /** Resolves when it has seen all that was said to it before. */
  sync(): Promise<void>
  /** It did not answer in time. */
  silent(): void
}

export interface CacheFileOptions {
  readonly length: number
  /** What those who have it mapped may do. */
  readonly access: Access
  readonly holdMs: number
  /** How often dirty pages are sent home. */
  readonly flushMs: number
  readonly budget: Budget
}

/** Pages that are sent before home must have seen them. */
const pagesPerFlush = 4_096

/** This partition's copy of a file of another one: carries out what the machine says of its pages. */
export class CacheFile implements CacheEffects, FaultHandler, Evictable {
  readonly file: PagedFile
  readonly #home: FarHome
  readonly #cache: Cache
  readonly #ahead = new ReadAhead()
  readonly #alarm: Alarm
  readonly #budget: Budget
  readonly #asks: Asks
  readonly #flushMs: number
  readonly #access: Access
  /** What home may be asked for. */
  #attached = new PageRanges()
  /** Since when threads wait for a page. */
  readonly #waiting = new Map<number, number>()
  #waitedMs = 0
  #lastFaultMs = 0
  #pages = 0
  readonly #read: ReadPages = (first, count, into, at) => this.file.read(first, count, into, at)
  #flusher: NodeJS.Timeout | undefined
  #kept = false
  /** The content that came with the event under way. */
  #content: Uint8Array = new Uint8Array()

  constructor(home: FarHome, options: CacheFileOptions) {
    this.#home = home
    this.file = new PagedFile(new Descriptor(kernel.createFile(options.length)))
    this.#cache = new Cache({ pageCount: this.file.pageCount, holdMs: options.holdMs }, this)
    this.#alarm = new Alarm((first, count, now) => this.#cache.elapsed(first, count, now))
    this.#asks = new Asks(home)
    this.#flushMs = options.flushMs
    this.#access = options.access
    this.#budget = options.budget
    this.#budget.add(this)
  }

  get stats(): PagingStats {
    return { ...this.#cache.counters, waitedMs: this.#waitedMs }
  }

  get lastFaultMs(): number {
    return this.#lastFaultMs
  }

  /** Some of the pages are attached. */
  attached(range: PageRange): void {
    this.#attached.add(range)
  }

  /** Gives pages back, as nobody uses it any more; tells whether there are more when home has seen these. */
  giveBack(): boolean {
    this.#attached = new PageRanges()
    this.#alarm.ringAll()
    return this.#cache.evict(pagesPerFlush, Number.POSITIVE_INFINITY) === pagesPerFlush
  }

  /**
   * Those who have it mapped keep what it shows: from now on nothing is taken out of its memory, whatever
   * home is told, and nothing more is asked for. Whoever waits for other pages does so until it is disarmed.
   */
  keep(): void {
    this.#kept = true
    this.#attached = new PageRanges()
    this.#asks.withdraw()
  }

  /** Resolves when what home was asked for has come; rejects if it is closed before. */
  answered(): Promise<void> {
    return this.#asks.answered()
  }

  /** Nothing more comes from home: whoever waits is woken. */
  close(): void {
    this.#alarm.close()
    this.#asks.close()
    clearTimeout(this.#flusher)
    this.#cache.ended()
    this.#budget.remove(this, this.#pages)
    this.file.close()
  }

  fault(page: number, wanted: Access, isMissing: boolean): void {
    const access = this.#allowed(wanted)
    const following = this.#attached.following(page)
    // A process that made its mapping writable, or larger, which it may not, waits.
    if (following === 0 || (access !== wanted && !isMissing)) return
    this.#lastFaultMs = performance.now()
    if (!this.#waiting.has(page)) this.#waiting.set(page, this.#lastFaultMs)
    this.#cache.fault(page, access, 0)
    const ahead = isMissing ? Math.min(this.#ahead.next(page), following - 1) : 0
    if (ahead > 0) this.#cache.prefetch(page + 1, ahead, access)
    this.#asks.send()
  }

  taken(first: number, count: number, share: Share, content: Uint8Array): void {
    this.#content = content
    this.#cache.data(first, count, share, performance.now())
    this.#asks.came(first, count)
    if (share === 'exclusive') this.#flushLater()
  }

  granted(first: number, count: number): void {
    this.#cache.grant(first, count, performance.now())
    this.#asks.came(first, count)
    this.#flushLater()
  }

  invalidate(first: number, count: number): void {
    this.#cache.invalidate(first, count, performance.now())
  }

  recall(first: number, count: number, keep: Keep): void {
    this.#cache.recall(first, count, keep, performance.now())
  }

  async flush(first: number, count: number): Promise<void> {
    await this.#flush(first, count)
    await this.#home.sync()
  }

  /** No more at once than a link takes. */
  async #flush(first: number, count: number): Promise<void> {
    for (let done = 0; done < count; done += pagesPerFlush) {
      const flushed = this.#cache.flush(first + done, Math.min(pagesPerFlush, count - done))
      if (flushed > 0 && done + pagesPerFlush < count) await this.#home.sync()
    }
  }

  async prefetch(first: number, count: number, access: Access): Promise<void> {
    this.#lastFaultMs = performance.now()
    const some = Math.min(count, this.#attached.following(first))
    if (some === 0) return
    this.#cache.prefetch(first, some, this.#allowed(access))
    this.#asks.send()
    await this.#asks.answered()
  }

  evict(count: number): number {
    return this.#cache.evict(count, performance.now())
  }

  forEachProtected(visit: (first: number, count: number) => void): void {
    this.#cache.forEachProtected(visit)
  }

  request(access: Access, first: number, count: number): void {
    this.#asks.add(access, first, count)
  }

  install(first: number, count: number, nth: number, placing: Placing): void {
    const isAwaited = this.#waitedFor(first, count)
    this.file.install(first, count, placing, { content: this.#content, at: nth * kernel.pageSize, isAwaited })
    this.#changed(count)
  }

  protect(first: number, count: number): void {
    this.file.protect(first, count)
  }

  unprotect(first: number, count: number): void {
    this.file.unprotect(first, count)
    this.#waitedFor(first, count)
    this.#flushLater()
  }

  drop(first: number, count: number): void {
    if (!this.#kept) this.file.punch(first, count)
    this.#changed(-count)
  }

  sendReturned(first: number, count: number, returned: Returned): void {
    this.#home.returned(first, count, returned, this.#read)
  }

  sendInvalidated(first: number, count: number): void {
    this.#home.invalidated(first, count)
  }

  sendPut(first: number, count: number, put: Put): void {
    this.#home.put(first, count, put, this.#read)
  }

  sendDropped(first: number, count: number): void {
    this.#home.dropped(first, count)
  }

  wake(first: number, count: number): void {
    this.file.wake(first, count)
    this.#waitedFor(first, count)
  }

  delay(first: number, count: number, untilMs: number): void {
    this.#alarm.set(first, count, untilMs)
  }

  /** Home cuts off a partition that asks to write what it may only read. */
  #allowed(access: Access): Access {
    return this.#access === 'read' ? 'read' : access
  }

  #changed(pages: number): void {
    this.#pages += pages
    this.#budget.changed(pages)
  }

  /** Whoever waits for the pages is served; tells whether anybody does. */
  #waitedFor(first: number, count: number): boolean {
    if (this.#waiting.size === 0) return false
    const now = performance.now()
    const before = this.#waiting.size
    for (const [page, since] of this.#waiting) {
      if (page < first || page >= first + count) continue
      this.#waitedMs += now - since
      this.#waiting.delete(page)
    }
    return this.#waiting.size < before
  }

  /** Pages may be dirty from now on. */
  #flushLater(): void {
    if (this.#flusher !== undefined) return
    this.#flusher = setTimeout(() => {
      this.#flusher = undefined
      // If home is lost nobody waits for it.
      this.#flush(0, this.file.pageCount).catch(() => {})
    }, this.#flushMs)
    this.#flusher.unref()
  }
}
