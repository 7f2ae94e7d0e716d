import type { Access, Keep, Put, Returned, Share } from '../coherence/terms.js'
import { XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import { CacheFile, type FarHome } from '../pager/cache-file.js'
import type { ReadPages } from '../pager/home-file.js'
import type { PagingOptions } from '../pager/homes.js'
import type { Pages } from '../wire/pages-codec.js'
import { keep, noFile, put, returned, share } from '../wire/xpc-schema.js'
import type { PageContent, XpcMessage } from '../xpc/connection.js'
import { ByNumbers } from './by-numbers.js'
import { eachPart, Ways } from './nodes.js'
import type { Peer } from './peer.js'
import { BadAnswer, type Place } from './places.js'

/** Messages about pages that a home sends. */
export type HomeMessage = XpcMessage<'data' | 'grant' | 'invalidate' | 'recall'>

const homeMessages: ReadonlySet<string> = new Set(['data', 'grant', 'invalidate', 'recall'])

export function isHomeMessage(message: XpcMessage): message is HomeMessage {
  return homeMessages.has(message.name)
}

const shareWays = new Ways<Share>(share)
const keepWays = new Ways<Keep>(keep)

/** The home of a file in another partition. */
class LinkHome implements FarHome {
  readonly #peer: Peer
  readonly #file: number
  readonly #cache: number

  constructor(peer: Peer, file: number, cache: number) {
    this.#peer = peer
    this.#file = file
    this.#cache = cache
  }

  request(access: Access, first: number, count: number): void {
    this.#peer.link.sendPages(access, this.#pages(first, count))
  }

  returned(first: number, count: number, way: Returned, read: ReadPages): void {
    eachPart(first, count, (from, some) => {
      const pages = this.#pages(from, some, returned[way])
      this.#peer.link.sendPages('returned', pages, way === 'content' ? this.#content(from, some, read) : undefined)
    })
  }

  invalidated(first: number, count: number): void {
    this.#peer.link.sendPages('invalidated', this.#pages(first, count))
  }

  put(first: number, count: number, way: Put, read: ReadPages): void {
    eachPart(first, count, (from, some) => {
      this.#peer.link.sendPages('put', this.#pages(from, some, put[way]), this.#content(from, some, read))
    })
  }

  dropped(first: number, count: number): void {
    this.#peer.link.sendPages('dropped', this.#pages(first, count))
  }

  async sync(): Promise<void> {
    await this.#peer.link.request('sync', {}, syncTimeoutMs)
  }

  silent(): void {
    const why = new XpmemError('ETIMEDOUT', 'xpc', 'it was asked for pages and did not give them')
    void this.#peer.link.deactivate(why, true)
  }

  #content(first: number, count: number, read: ReadPages): PageContent {
    this.#peer.counters.pagesOut += count
    return { bytes: count * kernel.pageSize, fill: (into, at) => read(first, count, into, at) }
  }

  #pages(first: number, count: number, way = 0): Pages {
    return { file: this.#file, cache: this.#cache, first, count, way }
  }
}

/** Which of the copies of a file, and what those who have it mapped may do. */
export interface CacheKind {
  readonly cache: number
  readonly access: Access
}

/** A copy here of a file of a peer's. */
export interface FarFile {
  /** Its number at home, and that of the copy. */
  readonly numbers: readonly [file: number, cache: number]
  readonly cache: CacheFile
  /** The permits, by their numbers here, that it was attached with. */
  readonly users: Set<bigint>
  readonly length: number
  /** The owner of some of it has ended, and processes may have kept what they see. */
  kept: boolean
}

/** How long a home may take to say that it has seen what was said to it. */
const syncTimeoutMs = 5_000

/** The copies here of files of one peer's. */
export class Caches {
  readonly #peer: Peer
  readonly #files = new ByNumbers<FarFile>()
  /** How often home was told that a copy is given up. */
  leaves = 0
  /** Copies that are left to those who keep them, until home knows. */
  readonly #leaving = new Set<Promise<void>>()
  readonly #disarm: (file: CacheFile) => Promise<void>

  readonly #options: PagingOptions

  /** `disarm`: ends that the faults of a copy come here. */
  constructor(peer: Peer, options: PagingOptions, disarm: (file: CacheFile) => Promise<void>) {
    this.#peer = peer
    this.#options = options
    this.#disarm = disarm
  }

  /** Whether there are copies that are not home's any more, though home does not know yet. */
  get isLeaving(): boolean {
    return this.#leaving.size > 0
  }

  /** Resolves when there are none of those that there are now. */
  async left(): Promise<void> {
    await Promise.all(this.#leaving)
  }

  /** The copy that has a number, for a permit. EPROTO if its home says another length than before. */
  use(file: number, length: number, { cache, access }: CacheKind, apid: bigint): CacheFile {
    let known = this.#files.get(file, cache)
    if (known === undefined) {
      const home = new LinkHome(this.#peer, file, cache)
      known = {
        numbers: [file, cache],
        cache: new CacheFile(home, { ...this.#options, length, access }),
        users: new Set(),
        length,
        kept: false,
      }
      this.#files.set(file, cache, known)
    } else if (known.length !== length) {
      throw new BadAnswer('the file has another length than before')
    }
    known.users.add(apid)
    return known.cache
  }

  /** Carries out a message about pages. Of a copy that has ended they come late and mean nothing. */
  take(message: HomeMessage): void {
    const { file, cache, first, count } = message
    const known = this.#files.get(file, cache)?.cache
    if (known === undefined) return
    switch (message.name) {
      case 'data':
        if (message.bytes.length !== count * kernel.pageSize) {
          throw new XpmemError('EPROTO', 'data', 'the content is not of those pages')
        }
        this.#peer.counters.pagesIn += count
        return known.taken(first, count, shareWays.of(message), message.bytes)
      case 'grant':
        return known.granted(first, count)
      case 'invalidate':
        return known.invalidate(first, count)
      case 'recall':
        return known.recall(first, count, keepWays.of(message))
    }
  }

  /**
   * A permit has ended: what was attached with it alone is sent home and forgotten. `kept`: as the
   * segment's owner has ended, so that processes may keep attachments.
   */
  release(apid: bigint, kept: boolean): void {
    for (const known of this.#files.values()) {
      if (!known.users.delete(apid)) continue
      known.kept ||= kept
      if (known.users.size > 0) continue
      if (known.kept) this.#leaveBehind(known)
      // If home is lost meanwhile everything is closed.
      else this.#giveUp(known).catch(() => {})
    }
  }

  #leaveBehind(known: FarFile): void {
    const left = this.#letGo(known).finally(() => this.#leaving.delete(left))
    this.#leaving.add(left)
  }

  /** Leaves a copy to those who keep it, as ordinary memory, and sends home what they changed. */
  async #letGo(known: FarFile): Promise<void> {
    const { cache } = known
    cache.keep()
    try {
      // Threads that wait for these pages would find zeros.
      await cache.answered()
      await this.#disarm(cache)
      while (this.#isOpen(known) && cache.giveBack()) await this.#sync()
    } catch {
      // Home is lost, and everything closed, or too slow: then it has what it was last sent.
    }
    if (this.#isOpen(known)) this.#forget(known)
  }

  #isOpen(known: FarFile): boolean {
    return this.#files.get(...known.numbers) === known
  }

  /** In portions that a link takes, unless somebody attaches it meanwhile. */
  async #giveUp(known: FarFile): Promise<void> {
    const isWanted = () => known.users.size > 0 || !this.#isOpen(known)
    while (known.cache.giveBack()) {
      await this.#sync()
      if (isWanted()) return
    }
    this.#forget(known)
  }

  #forget({ numbers, cache }: FarFile): void {
    this.#files.remove(...numbers)
    this.#leave(...numbers)
    void this.#end(cache)
  }

  /** Ends a copy that home knows nothing of any more. */
  async #end(cache: CacheFile): Promise<void> {
    await this.#disarm(cache)
    cache.close()
  }

  /** Sends everything home, as this service ends. Resolves when home has it; rejects if home is lost. */
  async giveBackAll(): Promise<void> {
    if (this.#files.size === 0) return
    for (const { cache, kept } of this.#files.values()) {
      if (kept) cache.keep()
      while (cache.giveBack()) await this.#sync()
    }
    await this.#sync()
  }

  async #sync(): Promise<void> {
    await this.#peer.link.request('sync', {}, syncTimeoutMs)
  }

  /** Who asked for these places has gone: home need not keep in mind that they may be asked for. */
  abandon(places: readonly Place[], { cache }: CacheKind): void {
    for (const file of new Set(places.map((place) => place.file))) {
      if (file !== noFile && this.#files.get(file, cache) === undefined) this.#leave(file, cache)
    }
  }

  #leave(file: number, cache: number): void {
    this.leaves += 1
    this.#peer.link.send('leave', 0, { file, cache })
  }

  /** The peer is gone: nothing more comes, and who waits is woken. */
  close(): void {
    for (const { cache } of this.#files.values()) void this.#end(cache)
    this.#files.clear()
  }
}
