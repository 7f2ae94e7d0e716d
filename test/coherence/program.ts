import assert from 'node:assert/strict'
import { ReadAhead } from '../../src/coherence/read-ahead.js'
import type { Random } from '../unit/random.js'
import { type Place, type Thread, World } from './world.js'

export interface ProgramOptions {
  readonly pages: number
  readonly places: number
  readonly threadsEach: number
  readonly steps: number
  /** Whether links are lost. */
  readonly isLossy: boolean
}

type Step = () => void

/** Threads that load and store at random, and everything else in any order that links allow. */
export class Program {
  readonly world: World
  readonly done = { accesses: 0, evicted: 0, flushed: 0, cuts: 0 }
  readonly #options: ProgramOptions
  readonly #random: Random
  readonly #ahead: ReadAhead[]
  /** Where each thread is in its walk through the file. */
  readonly #walks: number[]

  constructor(options: ProgramOptions, random: Random) {
    const { pages, places, threadsEach } = options
    const threads = Array.from({ length: threadsEach * (places + 1) }, (_, index) => Math.floor(index / threadsEach))
    this.world = new World({ pages, places, threads })
    for (let place = 1; place <= places; place += 1) this.world.addPlace(place)
    this.#options = options
    this.#random = random
    this.#ahead = Array.from({ length: places + 1 }, () => new ReadAhead())
    this.#walks = threads.map(() => random.below(pages))
  }

  run(): void {
    for (let step = 0; step < this.#options.steps; step += 1) {
      const chance = this.#random.below(30)
      this.#one(chance === 0 ? this.#occasions() : chance < 10 ? this.#beginnings() : this.#pending())
    }
    this.drain()
    this.world.checkRest()
  }

  #one(steps: readonly Step[]): void {
    if (steps.length === 0) return
    ;(steps[this.#random.below(steps.length)] as Step)()
    this.world.checkAccess()
  }

  /** Does all that is left to do, in any order. */
  drain(): void {
    for (let left = 100_000; ; left -= 1) {
      const pending = this.#pending()
      if (pending.length === 0) return
      assert(left > 0, 'it comes to rest')
      this.#one(pending)
    }
  }

  /** The last word: every page is read in every partition. */
  readAll(): void {
    for (let page = 0; page < this.#options.pages; page += 1) {
      for (const thread of this.#threads('idle')) {
        Object.assign(thread, { page, access: 'read' })
        this.world.access(thread)
      }
      this.drain()
    }
  }

  #threads(is: Thread['is']): Thread[] {
    return this.world.threads.filter((thread) => {
      const place = this.world.places[thread.at - 1]
      return thread.is === is && (place === undefined || place.link === 'up' || place.link === 'cut')
    })
  }

  #beginnings(): Step[] {
    return this.#threads('idle').map((thread) => () => {
      const index = this.world.threads.indexOf(thread)
      const jumps = this.#random.below(8) === 0
      const walked = ((this.#walks[index] as number) + 1) % this.#options.pages
      thread.page = jumps ? this.#random.below(this.#options.pages) : walked
      this.#walks[index] = thread.page
      thread.access = this.#random.below(3) === 0 ? 'write' : 'read'
      this.done.accesses += 1
      this.world.access(thread)
    })
  }

  /** What a cache does of its own accord, and what happens to links. */
  #occasions(): Step[] {
    const ofHome: Step[] = [() => this.world.tick(0)]
    const ofPlaces = this.world.places.flatMap((place, index) => {
      const now = this.world.clocks[index + 1] as number
      const steps: Step[] = []
      if (place.link === 'up' || place.link === 'cut') {
        steps.push(() => {
          this.done.evicted += place.cache.evict(1 + this.#random.below(this.#options.pages / 2), now)
        })
        steps.push(() => {
          this.done.flushed += place.cache.flush(...this.#range())
        })
        steps.push(() => place.cache.prefetch(...this.#range(), this.#random.below(4) === 0 ? 'write' : 'read'))
        steps.push(() => this.world.tick(index + 1))
      }
      if (this.#options.isLossy && place.link === 'up' && this.#random.below(4) === 0) {
        steps.push(() => {
          this.done.cuts += 1
          this.world.cut(place)
        })
      }
      return steps
    })
    return [...ofHome, ...ofPlaces]
  }

  #range(): [first: number, count: number] {
    const first = this.#random.below(this.#options.pages)
    return [first, 1 + this.#random.below(Math.min(16, this.#options.pages - first))]
  }

  #pending(): Step[] {
    const { world } = this
    const steps: Step[] = []
    for (const thread of this.#threads('woken')) steps.push(() => world.access(thread))
    for (const thread of this.#threads('unread')) {
      steps.push(() => {
        thread.ahead = thread.at === 0 ? 0 : (this.#ahead[thread.at] as ReadAhead).next(thread.page)
        world.hear(thread)
      })
    }
    world.delays.forEach((delays, at) => {
      if (delays.length > 0) steps.push(() => world.tick(at))
    })
    return [...steps, ...world.places.flatMap((place) => this.#onLink(place))]
  }

  #onLink(place: Place): Step[] {
    const { world } = this
    const { link } = place
    const steps: Step[] = []
    if (place.toNode.length > 0) steps.push(() => world.deliverToNode(place))
    if (place.toHome.length > 0) steps.push(() => world.deliverToHome(place))
    if (link === 'cut' || link === 'revoked') steps.push(() => world.homeHears(place))
    if (link === 'cut' || link === 'restored') steps.push(() => world.nodeHears(place))
    if (link === 'down') steps.push(() => world.rejoin(place))
    return steps
  }
}
