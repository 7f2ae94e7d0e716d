import { XpmemError } from '../errors.js'
import type { Batch } from './batch.js'
import { coversFault, type Deal, homeItself, isAsking, isWaiting, newDeal, type Request } from './deals.js'
import { Directory, type PageState } from './directory.js'
import { effect, type HomeEffects, homeBatch } from './home-effects.js'
import {
  type Access,
  checkRange,
  type Keep,
  type Placing,
  type Put,
  type Returned,
  valueBits,
  violation,
} from './terms.js'
import { afterFlushed, afterGiven, afterLost, afterReturned, afterUpgrade, areTaken, needProof } from './turns.js'
import { Window } from './window.js'

export interface HomeOptions {
  readonly pageCount: number
  /** How long a page that a thread of home just got is kept before it is taken again. Milliseconds. */
  readonly holdMs: number
}

/** The whole state, as plain data. */
export interface HomeSnapshot {
  readonly nodes: [node: number, access: Access][]
  readonly pages: [page: number, state: PageState, nodes: number[], turns: number][]
  readonly deals: [page: number, queue: Request[], awaited: number[], recalled: number, keep: Keep, held: boolean][]
  readonly window: number[][]
}

/**
 * The home's side of one file: who has each page, and what is asked of whom. No I/O and no clock:
 * each event changes the state and calls effects, or throws EPROTO and does neither. A page has one
 * deal at a time; what is asked for meanwhile waits in order, home's own threads included.
 */
export class Home {
  readonly #pageCount: number
  readonly #directory: Directory
  readonly #batch: Batch
  readonly #window: Window
  readonly #nodes = new Map<number, Access>()
  readonly #deals = new Map<number, Deal>()

  constructor(options: HomeOptions, effects: HomeEffects) {
    this.#pageCount = options.pageCount
    this.#directory = new Directory(options.pageCount)
    this.#window = new Window(options.holdMs)
    this.#batch = homeBatch(effects)
  }

  /** Bytes that the state of the pages takes. */
  get stateBytes(): number {
    return this.#directory.bytes
  }

  /** Whether every page is home's and nothing is asked for: home needs no protection. */
  get isIdle(): boolean {
    return this.#directory.size === 0
  }

  state(page: number): PageState {
    return this.#directory.state(page)
  }

  /** The node that may write the page, or those that read it. */
  nodesWith(page: number): readonly number[] {
    const owner = this.#directory.owner(page)
    return owner === 0 ? this.#directory.sharers(page) : [owner]
  }

  /** Runs of pages that are write-protected: they must be marked in a mapping that is added. */
  forEachProtected(visit: (first: number, count: number) => void): void {
    let [first, count] = [0, 0]
    this.#directory.forEach((page) => {
      if (this.#directory.state(page) !== 'shared') return
      if (first + count !== page && count > 0) visit(first, count)
      ;[first, count] = first + count === page && count > 0 ? [first, count + 1] : [page, 1]
    })
    if (count > 0) visit(first, count)
  }

  /** A node with a number that no other node of this file has now. */
  join(node: number, access: Access): void {
    if (!Number.isInteger(node) || node <= homeItself || node >= 2 ** valueBits)
      throw new XpmemError('EINVAL', 'join', `${node} is not a node number`)
    if (this.#nodes.has(node)) throw new XpmemError('EEXIST', 'join', `node ${node} has joined`)
    this.#nodes.set(node, access)
  }

  /** A node asks for pages that it does not have. */
  read(node: number, first: number, count: number, now: number): void {
    this.#request(node, first, count, 'read', now)
  }

  /** A node asks to be the only one that has the pages; it may share them already. */
  write(node: number, first: number, count: number, now: number): void {
    this.#request(node, first, count, 'write', now)
  }

  #request(node: number, first: number, count: number, access: Access, now: number): void {
    const rights = this.#check(access, node, first, count)
    if (access === 'write' && rights === 'read') violation(access, `node ${node} may only read`)
    this.#each(first, count, (page) => {
      if (this.#directory.owner(page) === node) violation(access, `node ${node} is the writer of page ${page}`)
      if (access === 'read' && this.#directory.isSharer(page, node))
        violation(access, `node ${node} has page ${page} already`)
      const deal = this.#deal(page)
      if (deal !== undefined && isWaiting(deal, node)) violation(access, `node ${node} waits for page ${page} already`)
    })
    this.#each(first, count, (page) => this.#ask(page, { node, access }, now))
    this.#batch.flush()
  }

  /** A thread of home waits for a page. It may say so again, and may be late. */
  fault(page: number, access: Access, now: number): void {
    const state = this.#directory.state(page)
    if (state === 'home' && access === 'write') this.#batch.add(effect.unprotect, page)
    else if (state === 'home' || (state === 'shared' && access === 'read')) this.#batch.add(effect.wake, page)
    else {
      const deal = this.#deal(page)
      if (deal === undefined || !coversFault(deal, access)) this.#ask(page, { node: homeItself, access }, now)
    }
    this.#batch.flush()
  }

  /** A node has dropped pages that it was told to. */
  invalidated(node: number, first: number, count: number, now: number): void {
    this.#check('invalidated', node, first, count)
    this.#each(first, count, (page) => {
      if (!this.#deal(page)?.awaited.has(node)) violation('invalidated', `node ${node} was not asked for page ${page}`)
    })
    this.#each(first, count, (page) => {
      const deal = this.#deal(page) as Deal
      deal.awaited.delete(node)
      this.#directory.removeSharer(page, node)
      this.#advance(page, deal, now)
    })
    this.#batch.flush()
  }

  /** A node answers a recall. */
  returned(node: number, first: number, count: number, returned: Returned, now: number): void {
    this.#check('returned', node, first, count)
    this.#each(first, count, (page) => {
      if (this.#deal(page)?.recalled !== node) violation('returned', `node ${node} was not asked for page ${page}`)
      const due = this.#directory.owner(page) === node ? 'content' : 'already'
      if ((returned === 'already') !== (due === 'already'))
        violation('returned', `node ${node} owes '${due}' for page ${page}, not '${returned}'`)
    })
    this.#each(first, count, (page) => {
      const deal = this.#deal(page) as Deal
      deal.recalled = 0
      if (returned !== 'already') {
        const placing = deal.keep === 'shared' ? 'protected' : this.#placing(deal)
        if (returned === 'content') this.#install(page, page - first, placing)
        else this.#putBack(page, placing)
        if (deal.keep === 'shared') this.#directory.addSharer(page, node)
        this.#directory.setTurns(page, afterReturned(this.#directory.turns(page), returned === 'content'))
      }
      this.#advance(page, deal, now)
    })
    this.#batch.flush()
  }

  /** The writer of pages sends their content, unasked. */
  put(node: number, first: number, count: number, put: Put): void {
    this.#check('put', node, first, count)
    this.#each(first, count, (page) => {
      if (this.#directory.owner(page) !== node) violation('put', `node ${node} is not the writer of page ${page}`)
    })
    this.#each(first, count, (page) => {
      const after = put === 'flush' ? afterFlushed : afterLost
      this.#directory.setTurns(page, after(this.#directory.turns(page)))
      if (put === 'flush') return this.#batch.add(effect.updateAside, page, 0, page - first)
      // A deal of a far page has recalled its writer, and goes on when that has answered.
      const placing = this.#directory.isBusy(page) ? 'protected' : 'writable'
      this.#install(page, page - first, placing)
    })
    this.#batch.flush()
  }

  /** A node has dropped pages that it shared, unasked. */
  dropped(node: number, first: number, count: number): void {
    this.#check('dropped', node, first, count)
    this.#each(first, count, (page) => {
      if (!this.#directory.isSharer(page, node)) violation('dropped', `node ${node} does not share page ${page}`)
      const deal = this.#deal(page)
      if (deal !== undefined && isWaiting(deal, node)) violation('dropped', `node ${node} waits for page ${page}`)
    })
    this.#each(first, count, (page) => {
      this.#directory.removeSharer(page, node)
      if (!this.#directory.isBusy(page)) this.#settle(page)
    })
    this.#batch.flush()
  }

  /** A node has left, in order or not: what it had is home's again, and nobody waits for it. */
  gone(node: number, now: number): void {
    if (!this.#nodes.delete(node)) return
    this.#directory.forEach((page) => {
      const deal = this.#deal(page)
      if (deal !== undefined) {
        deal.queue = deal.queue.filter((request) => request.node !== node)
        deal.awaited.delete(node)
        if (deal.recalled === node) deal.recalled = 0
      }
      if (this.#directory.owner(page) === node) {
        const placing = this.#placing(deal)
        this.#batch.add(placing === 'writable' ? effect.restoreWritable : effect.restoreProtected, page)
        this.#place(page, placing)
        this.#directory.setTurns(page, afterLost(this.#directory.turns(page)))
      } else if (this.#directory.isSharer(page, node)) this.#directory.removeSharer(page, node)
      if (deal === undefined) this.#settle(page)
      else this.#advance(page, deal, now)
    })
    this.#batch.flush()
    if (this.#nodes.size === 0) this.#directory.trim()
  }

  /** The time that `delay` asked for has come. */
  elapsed(first: number, count: number, now: number): void {
    this.#window.prune(now)
    this.#each(first, count, (page) => {
      const deal = this.#deal(page)
      if (deal === undefined || !deal.held) return
      deal.held = false
      this.#advance(page, deal, now)
    })
    this.#batch.flush()
  }

  #check(call: string, node: number, first: number, count: number): Access {
    const rights = this.#nodes.get(node)
    if (rights === undefined) violation(call, `node ${node} has not joined`)
    checkRange(call, first, count, this.#pageCount)
    return rights
  }

  #each(first: number, count: number, visit: (page: number) => void): void {
    for (let page = first; page < first + count; page += 1) visit(page)
  }

  #deal(page: number): Deal | undefined {
    return this.#directory.isBusy(page) ? this.#deals.get(page) : undefined
  }

  /** How content comes in when no node has the page: writable if home may have it for itself then. */
  #placing(deal: Deal | undefined): Placing {
    const next = deal?.queue[0]
    if (next?.node === homeItself && next.access === 'write') return 'writable'
    return deal?.queue.some(({ node }) => node !== homeItself) ? 'protected' : 'writable'
  }

  #install(page: number, nth: number, placing: Placing): void {
    this.#batch.add(placing === 'writable' ? effect.installWritable : effect.installProtected, page, 0, nth)
    this.#place(page, placing)
  }

  #putBack(page: number, placing: Placing): void {
    this.#batch.add(placing === 'writable' ? effect.putBackWritable : effect.putBackProtected, page)
    this.#place(page, placing)
  }

  #place(page: number, placing: Placing): void {
    if (placing === 'writable') this.#directory.setHome(page)
    else this.#directory.setShared(page)
  }

  /** A page that nobody shares any more is home's. */
  #settle(page: number): void {
    if (this.#directory.state(page) !== 'shared' || this.#directory.sharers(page).length > 0) return
    this.#batch.add(effect.unprotect, page)
    this.#directory.setHome(page)
  }

  #ask(page: number, request: Request, now: number): void {
    const waiting = this.#deal(page)
    if (waiting !== undefined) waiting.queue.push(request)
    else if (this.#isFree(page, request, now)) {
      this.#noteUpgrade(page, request, 0)
      this.#give(page, request, now)
    } else {
      const deal = newDeal(request)
      this.#deals.set(page, deal)
      this.#directory.setBusy(page)
      this.#begin(page, deal, request, now)
    }
  }

  /** Serves what waits for the page, as far as that needs nobody's answer. */
  #advance(page: number, deal: Deal, now: number): void {
    while (!isAsking(deal)) {
      const next = deal.queue[0]
      if (next === undefined) {
        this.#deals.delete(page)
        this.#directory.clearBusy(page)
        return this.#settle(page)
      }
      if (!this.#isFree(page, next, now)) return this.#begin(page, deal, next, now)
      this.#give(page, next, now)
      deal.queue.shift()
    }
  }

  /** Whether nobody has to give way to the request. */
  #isFree(page: number, request: Request, now: number): boolean {
    const state = this.#directory.state(page)
    if (state === 'far') return false
    if (state === 'shared' && request.access === 'read') return true
    if (this.#holds(page, request, now)) return false
    return this.#others(page, request).length === 0
  }

  /** Whether home's own thread has just got what the request takes away. */
  #holds(page: number, { node }: Request, now: number): boolean {
    return node !== homeItself && this.#window.until(page, now) > now
  }

  #others(page: number, { node }: Request): readonly number[] {
    const sharers = this.#directory.sharers(page)
    return sharers.includes(node) ? sharers.filter((sharer) => sharer !== node) : sharers
  }

  /** Asks those who have to give way to the first request of the queue. */
  #begin(page: number, deal: Deal, request: Request, now: number): void {
    const owner = this.#directory.owner(page)
    if (owner !== 0) {
      deal.recalled = owner
      deal.keep = request.access === 'read' && !this.#takesTurns(page, request) ? 'shared' : 'absent'
      this.#batch.add(deal.keep === 'shared' ? effect.recallToShared : effect.recallToAbsent, page, owner)
    } else if (this.#holds(page, request, now)) {
      if (!deal.held) this.#batch.add(effect.delay, page, 0, 0, this.#window.until(page, now))
      deal.held = true
    } else {
      const others = this.#others(page, request)
      this.#noteUpgrade(page, request, others.length)
      for (const node of others) {
        deal.awaited.add(node)
        this.#batch.add(effect.invalidate, page, node)
      }
    }
  }

  /** Somebody wants to write, and `others` have the page who have to give way. */
  #noteUpgrade(page: number, { node, access }: Request, others: number): void {
    if (access === 'read' || this.#directory.state(page) !== 'shared') return
    if (node !== homeItself && !this.#directory.isSharer(page, node)) return
    this.#directory.setTurns(page, afterUpgrade(this.#directory.turns(page), others))
  }

  /** Whether it will want to write, though it asks to read, and nobody else waits for the page. */
  #takesTurns(page: number, { node }: Request): boolean {
    if (!areTaken(this.#directory.turns(page), node === homeItself)) return false
    const waiting = this.#deal(page)?.queue.length ?? 0
    return waiting <= 1 && (node === homeItself || this.#nodes.get(node) === 'write')
  }

  #give(page: number, { node, access }: Request, now: number): void {
    const state = this.#directory.state(page)
    if (node === homeItself) {
      this.#batch.add(access === 'write' && state === 'shared' ? effect.unprotect : effect.wake, page)
      if (access === 'write') this.#directory.setHome(page)
      return this.#window.give(page, 1, now)
    }
    if (state === 'home') this.#batch.add(effect.protect, page)
    if (access === 'write') {
      return this.#giveAway(page, node, this.#directory.isSharer(page, node) ? effect.grant : effect.dataExclusive)
    }
    const isAlone = this.#directory.sharers(page).length === 0 && !this.#holds(page, { node, access }, now)
    if (isAlone && this.#takesTurns(page, { node, access })) {
      const turns = this.#directory.turns(page)
      this.#giveAway(page, node, needProof(turns) ? effect.dataClean : effect.dataExclusive)
      return this.#directory.setTurns(page, afterGiven(turns))
    }
    this.#batch.add(effect.dataShared, page, node)
    this.#directory.addSharer(page, node)
  }

  #giveAway(page: number, node: number, how: number): void {
    this.#batch.add(effect.aside, page)
    this.#batch.add(how, page, node)
    this.#batch.add(effect.take, page)
    this.#directory.setFar(page, node)
  }

  snapshot(): HomeSnapshot {
    const pages: HomeSnapshot['pages'] = []
    this.#directory.forEach((page) => {
      pages.push([page, this.state(page), [...this.nodesWith(page)], this.#directory.turns(page)])
    })
    return {
      nodes: [...this.#nodes],
      pages,
      deals: [...this.#deals].map(([page, { queue, awaited, recalled, keep, held }]) => [
        page,
        [...queue],
        [...awaited],
        recalled,
        keep,
        held,
      ]),
      window: this.#window.snapshot(),
    }
  }

  /** A machine in the state that another one told. */
  static from(snapshot: HomeSnapshot, options: HomeOptions, effects: HomeEffects): Home {
    const home = new Home(options, effects)
    for (const [node, access] of snapshot.nodes) home.#nodes.set(node, access)
    for (const [page, state, nodes, turns] of snapshot.pages) {
      home.#directory.setTurns(page, turns)
      if (state === 'far') home.#directory.setFar(page, nodes[0] ?? 0)
      if (state === 'shared') home.#directory.setShared(page)
      if (state === 'shared') for (const node of nodes) home.#directory.addSharer(page, node)
    }
    for (const [page, queue, awaited, recalled, keep, held] of snapshot.deals) {
      home.#deals.set(page, { queue: [...queue], awaited: new Set(awaited), recalled, keep, held })
      home.#directory.setBusy(page)
    }
    home.#window.restore(snapshot.window)
    return home
  }
}
