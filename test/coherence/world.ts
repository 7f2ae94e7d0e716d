import assert from 'node:assert/strict'
import { Cache, type CacheSnapshot } from '../../src/coherence/cache.js'
import type { CacheEffects } from '../../src/coherence/cache-effects.js'
import { state } from '../../src/coherence/cache-pages.js'
import { Home, type HomeSnapshot } from '../../src/coherence/home.js'
import type { HomeEffects } from '../../src/coherence/home-effects.js'
import type { Access, Keep, Placing, Put, Returned, Share } from '../../src/coherence/terms.js'
import { Memory } from './memory.js'

/** What goes over a link. `versions` stands for the content of the pages. */
export type Message =
  | { readonly is: 'request'; readonly access: Access; readonly first: number; readonly count: number }
  | {
      readonly is: 'returned'
      readonly how: Returned
      readonly first: number
      readonly count: number
      readonly versions?: number[]
    }
  | {
      readonly is: 'put'
      readonly how: Put
      readonly first: number
      readonly count: number
      readonly versions: number[]
    }
  | { readonly is: 'invalidated' | 'dropped' | 'invalidate' | 'grant'; readonly first: number; readonly count: number }
  | { readonly is: 'recall'; readonly keep: Keep; readonly first: number; readonly count: number }
  | {
      readonly is: 'data'
      readonly share: Share
      readonly first: number
      readonly count: number
      readonly versions: number[]
    }

/**
 * A thread: 'unread' when it faults and its machine has not heard of it, 'waiting' when it has,
 * 'woken' when it is about to try again.
 */
export interface Thread {
  /** Which partition it runs in: 0 is home, others are the places of nodes. */
  readonly at: number
  is: 'idle' | 'unread' | 'waiting' | 'woken'
  access: Access
  page: number
  ahead: number
}

export interface Place {
  node: number
  cache: Cache
  memory: Memory
  toNode: Message[]
  toHome: Message[]
  /** 'cut': neither side has heard of it; 'restored': home has; 'revoked': the node has; 'down': both. */
  link: 'up' | 'cut' | 'restored' | 'revoked' | 'down'
}

export interface WorldOptions {
  readonly pages: number
  /** The nodes. */
  readonly places: number
  /** How many of them may only read; their links are not lost. */
  readonly readers?: number
  /** In which partition each thread runs. */
  readonly threads: readonly number[]
  /** What home knows at first of turns with each page. */
  readonly turns?: number
  /** Breaks what the home, or a place, does. */
  readonly breakHome?: (effects: HomeEffects, world: World) => Partial<HomeEffects>
  readonly breakCache?: (effects: CacheEffects, world: World, place: Place) => Partial<CacheEffects>
}

/** A home that has every page, and no node. */
function untouched({ pages, turns = 0 }: WorldOptions): HomeSnapshot {
  const all = Array.from({ length: pages }, (_, page): HomeSnapshot['pages'][number] => [page, 'home', [], turns])
  return { nodes: [], pages: all, deals: [], window: [] }
}

/** The length of a contention window in the world's ticks. */
const holdMs = 1

/**
 * A home and its nodes, joined by ordered links, with memory and threads that are modelled. Each
 * method is one step; it throws when something happens that must not.
 */
export class World {
  readonly options: WorldOptions
  readonly home: Home
  readonly memory: Memory
  readonly places: Place[] = []
  readonly threads: Thread[]
  /** What home keeps aside. */
  readonly aside = new Map<number, number>()
  /** What home must have when the writer is lost. */
  readonly kept = new Map<number, number>()
  /** The version written last, which every read must give. */
  readonly latest: number[]
  nextVersion = 1
  /** The clocks of home and of the places. */
  readonly clocks: number[]
  /** When `elapsed` was asked for, likewise. */
  readonly delays: [first: number, count: number, until: number][][]
  /** What came with the event that is being handled. */
  #arrived: readonly number[] = []
  rolledBack = 0

  constructor(options: WorldOptions, homeSnapshot?: HomeSnapshot) {
    this.options = options
    this.memory = new Memory(options.pages, 0)
    this.latest = Array(options.pages).fill(0)
    this.clocks = Array(options.places + 1).fill(0)
    this.delays = this.clocks.map(() => [])
    this.threads = options.threads.map((at) => ({ at, is: 'idle', access: 'read', page: 0, ahead: 0 }))
    const machine = { pageCount: options.pages, holdMs }
    const effects = this.#homeEffects()
    const broken = { ...effects, ...options.breakHome?.(effects, this) }
    this.home = Home.from(homeSnapshot ?? untouched(options), machine, broken)
  }

  /** A place for a node; one that is not restored joins. */
  addPlace(node: number, snapshot?: CacheSnapshot): Place {
    const place = {
      node,
      memory: new Memory(this.options.pages, -1),
      toNode: [],
      toHome: [],
      link: 'up',
    } as unknown as Place
    place.cache = this.#newCache(place, this.places.length + 1, snapshot)
    this.places.push(place)
    if (snapshot === undefined) this.home.join(node, node <= (this.options.readers ?? 0) ? 'read' : 'write')
    return place
  }

  #newCache(place: Place, clock: number, snapshot?: CacheSnapshot): Cache {
    const machine = { pageCount: this.options.pages, holdMs }
    const effects = this.#cacheEffects(place, clock)
    const broken = { ...effects, ...this.options.breakCache?.(effects, this, place) }
    return snapshot === undefined ? new Cache(machine, broken) : Cache.from(snapshot, machine, broken)
  }

  placeOf(node: number): Place {
    return this.places.find((place) => place.node === node) as Place
  }

  /** The memory that a partition's threads see. */
  memoryAt(at: number): Memory {
    return at === 0 ? this.memory : (this.places[at - 1] as Place).memory
  }

  send(place: Place, way: 'toNode' | 'toHome', message: Message): void {
    if (place.link === 'up') place[way].push(message)
  }

  #wake(at: number, first: number, count: number): void {
    for (const thread of this.threads) {
      const concerned = thread.at === at && first <= thread.page && thread.page < first + count
      if (concerned && (thread.is === 'waiting' || thread.is === 'unread')) thread.is = 'woken'
    }
  }

  #homeEffects(): HomeEffects {
    const { memory, aside, kept } = this
    const tell = (node: number, message: Message) => this.send(this.placeOf(node), 'toNode', message)
    const remember = (first: number, versions: readonly number[]) => {
      for (const [index, version] of versions.entries()) kept.set(first + index, version)
    }
    const readAside = (first: number, count: number) =>
      Array.from({ length: count }, (_, index) => {
        const version = aside.get(first + index)
        assert(version !== undefined, 'what is given for writing is aside')
        return version
      })
    return {
      protect: (first, count) => memory.mark(first, count),
      unprotect: (first, count) => {
        memory.unmark(first, count)
        this.#wake(0, first, count)
      },
      aside: (first, count) => {
        for (const [index, version] of memory.read(first, count).entries()) aside.set(first + index, version)
      },
      updateAside: (first, count, nth) => {
        remember(first, this.#arrived.slice(nth, nth + count))
        for (let index = 0; index < count; index += 1) aside.set(first + index, this.#arrived[nth + index] as number)
      },
      install: (first, count, nth, placing) => {
        memory.place(first, this.#arrived.slice(nth, nth + count), placing)
        for (let page = first; page < first + count; page += 1) aside.delete(page)
      },
      restore: (first, count, placing) => this.#restore(first, count, placing),
      putBack: (first, count, placing) => this.#putBack(first, count, placing),
      data: (node, first, count, share) => {
        // What is given for writing is sent from what is aside, see HomeFile.
        const versions = share === 'shared' ? memory.read(first, count) : readAside(first, count)
        if (share !== 'shared') remember(first, versions)
        tell(node, { is: 'data', share, first, count, versions })
      },
      grant: (node, first, count) => {
        remember(first, memory.read(first, count))
        tell(node, { is: 'grant', first, count })
      },
      take: (first, count) => memory.punch(first, count),
      wake: (first, count) => this.#wake(0, first, count),
      invalidate: (node, first, count) => tell(node, { is: 'invalidate', first, count }),
      recall: (node, first, count, keep) => tell(node, { is: 'recall', keep, first, count }),
      delay: (first, count, until) => this.delays[0]?.push([first, count, until]),
    }
  }

  #restore(first: number, count: number, placing: Placing): void {
    for (let page = first; page < first + count; page += 1) {
      const version = this.aside.get(page)
      assert(version !== undefined, 'what is restored was kept aside')
      assert.equal(version, this.kept.get(page), 'what is restored is the last that home had')
      this.memory.place(page, [version], placing)
      this.aside.delete(page)
      this.latest[page] = version
      this.rolledBack += 1
    }
  }

  #putBack(first: number, count: number, placing: Placing): void {
    for (let page = first; page < first + count; page += 1) {
      const version = this.aside.get(page)
      assert(version !== undefined, 'what is put back was kept aside')
      assert.equal(version, this.latest[page], 'what a node says it has not changed is the last that was written')
      this.memory.place(page, [version], placing)
      this.aside.delete(page)
    }
  }

  #cacheEffects(place: Place, at: number): CacheEffects {
    const tell = (message: Message) => this.send(place, 'toHome', message)
    const content = (first: number, count: number) => place.memory.read(first, count)
    return {
      request: (access, first, count) => tell({ is: 'request', access, first, count }),
      install: (first, count, nth, placing) => {
        place.memory.place(first, this.#arrived.slice(nth, nth + count), placing)
        this.#wake(at, first, count)
      },
      protect: (first, count) => place.memory.mark(first, count),
      unprotect: (first, count) => {
        place.memory.unmark(first, count)
        this.#wake(at, first, count)
      },
      drop: (first, count) => place.memory.punch(first, count),
      sendReturned: (first, count, how) =>
        tell(
          how === 'content'
            ? { is: 'returned', how, first, count, versions: content(first, count) }
            : { is: 'returned', how, first, count },
        ),
      sendInvalidated: (first, count) => tell({ is: 'invalidated', first, count }),
      sendPut: (first, count, how) => tell({ is: 'put', how, first, count, versions: content(first, count) }),
      sendDropped: (first, count) => tell({ is: 'dropped', first, count }),
      wake: (first, count) => this.#wake(at, first, count),
      delay: (first, count, until) => this.delays[at]?.push([first, count, until]),
    }
  }

  /** Whether home may take the node's pages for lost while the node does not know: its accesses prove nothing. */
  isEstranged(place: Place): boolean {
    return place.link === 'restored' || place.link === 'down'
  }

  /** A thread loads or stores, or faults. */
  access(thread: Thread): void {
    const memory = this.memoryAt(thread.at)
    const { page, access } = thread
    if (access === 'read' ? !memory.mayRead(page) : !memory.mayWrite(page)) {
      thread.is = 'unread'
      return
    }
    thread.is = 'idle'
    if (access === 'read') {
      assert.equal(memory.content[page], this.latest[page], `a read in partition ${thread.at} gives the last write`)
    } else {
      memory.content[page] = this.nextVersion
      this.latest[page] = this.nextVersion
      this.nextVersion += 1
    }
  }

  /** A thread's machine hears of its fault. */
  hear(thread: Thread): void {
    thread.is = 'waiting'
    const { at, page, access, ahead } = thread
    if (at === 0) this.home.fault(page, access, this.clocks[0] as number)
    else this.places[at - 1]?.cache.fault(page, access, ahead)
  }

  deliverToHome(place: Place): void {
    const message = place.toHome.shift() as Message
    const { first, count } = message
    const now = this.clocks[0] as number
    this.#arrived = 'versions' in message ? (message.versions ?? []) : []
    if (message.is === 'request') this.home[message.access](place.node, first, count, now)
    else if (message.is === 'invalidated') this.home.invalidated(place.node, first, count, now)
    else if (message.is === 'returned') this.home.returned(place.node, first, count, message.how, now)
    else if (message.is === 'put') this.home.put(place.node, first, count, message.how)
    else if (message.is === 'dropped') this.home.dropped(place.node, first, count)
    else assert.fail(`${message.is} goes to nodes`)
  }

  deliverToNode(place: Place): void {
    const message = place.toNode.shift() as Message
    const { first, count } = message
    const now = this.clocks[this.places.indexOf(place) + 1] as number
    this.#arrived = 'versions' in message ? (message.versions ?? []) : []
    if (message.is === 'data') place.cache.data(first, count, message.share, now)
    else if (message.is === 'grant') place.cache.grant(first, count, now)
    else if (message.is === 'invalidate') place.cache.invalidate(first, count, now)
    else if (message.is === 'recall') place.cache.recall(first, count, message.keep, now)
    else assert.fail(`${message.is} goes to home`)
  }

  /** The contention windows of a partition are over. */
  tick(at: number): void {
    const now = (this.clocks[at] as number) + holdMs
    this.clocks[at] = now
    const machine = at === 0 ? this.home : (this.places[at - 1] as Place).cache
    for (const [first, count, until] of this.delays[at]?.splice(0) ?? []) {
      assert(until <= now, 'no window is longer than it should be')
      machine.elapsed(first, count, now)
    }
  }

  cut(place: Place): void {
    place.link = 'cut'
    place.toNode.length = 0
    place.toHome.length = 0
  }

  /** Home hears that the link is lost. */
  homeHears(place: Place): void {
    place.link = place.link === 'revoked' ? 'down' : 'restored'
    this.home.gone(place.node, this.clocks[0] as number)
  }

  /** The node hears that the link is lost: its memory goes, and whoever waits gives up. */
  nodeHears(place: Place): void {
    const at = this.places.indexOf(place) + 1
    place.link = place.link === 'restored' ? 'down' : 'revoked'
    place.cache.ended()
    place.memory.punch(0, this.options.pages)
    this.delays[at]?.splice(0)
    for (const thread of this.threads) {
      if (thread.at !== at) continue
      assert.notEqual(thread.is, 'waiting', 'nobody waits for a home that is lost')
      thread.is = 'idle'
    }
  }

  rejoin(place: Place): void {
    place.node += this.options.places
    place.cache = this.#newCache(place, this.places.indexOf(place) + 1)
    place.link = 'up'
    this.home.join(place.node, 'write')
  }

  /** One writer, or any number of readers. */
  checkAccess(): void {
    const memories = [
      this.memory,
      ...this.places.filter((place) => !this.isEstranged(place)).map(({ memory }) => memory),
    ]
    for (let page = 0; page < this.options.pages; page += 1) {
      const readers = memories.filter((memory) => memory.mayRead(page)).length
      const writers = memories.filter((memory) => memory.mayWrite(page)).length
      assert(writers === 0 || readers === 1, `page ${page}: ${writers} may write while ${readers} have it`)
    }
  }

  /** Everything is delivered and nobody acts: nothing is left over, and both sides say the same. */
  checkRest(): void {
    for (const thread of this.threads)
      assert.equal(thread.is, 'idle', `a thread in partition ${thread.at} waits for ever`)
    assert.deepEqual(this.home.snapshot().deals, [], 'no deal is left over')
    for (let page = 0; page < this.options.pages; page += 1) this.#checkPage(page)
    for (const { cache } of this.places) assert.deepEqual(cache.snapshot().demands, [], 'no demand is left over')
  }

  #checkPage(page: number): void {
    const here = (wanted: readonly number[]) =>
      this.places
        .filter(({ cache, link }) => link === 'up' && wanted.includes(cache.state(page)))
        .map(({ node }) => node)
    const sharers = here([state.shared]).sort((a, b) => a - b)
    const writers = here([state.clean, state.dirty])
    assert.deepEqual(here([state.reading, state.writing, state.upgrading]), [], 'no request is left over')
    const said = [...this.home.nodesWith(page)]
    assert.equal(said.length === 0, this.home.state(page) === 'home', `page ${page} is home's if nobody has it`)
    const isFar = this.home.state(page) === 'far'
    const due = { sharers: isFar ? [] : said, writers: isFar ? said : [] }
    assert.deepEqual({ sharers, writers }, due, `both sides say the same of page ${page}`)
    assert.equal(this.memory.mayRead(page), this.home.state(page) !== 'far')
    assert.equal(this.memory.mayWrite(page), this.home.state(page) === 'home')
    assert.equal(this.aside.has(page), this.home.state(page) === 'far', 'aside is kept exactly for far pages')
  }
}
