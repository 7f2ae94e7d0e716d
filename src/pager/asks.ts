import type { Access } from '../coherence/terms.js'
import { XpmemError } from '../errors.js'
import type { FarHome } from './cache-file.js'
import { Demands } from './demands.js'

/** Pages that are asked for at once: the first are used while the next are on their way. */
const pagesPerAsk = 64

/** Pages that may be asked for and not have come: what a link takes well. */
const maxPagesAsked = 2_048

/** How long home may take to give pages, for which it may have to ask others. */
const answerTimeoutMs = 12_000

interface Waiter {
  /** Pages that must have come, of all that were ever asked for. */
  readonly pages: number
  resolve(): void
  reject(error: XpmemError): void
}

/** What a cache asks its home for, not too much at once. */
export class Asks {
  readonly #home: FarHome
  readonly #demands: Demands
  readonly #queue: { readonly access: Access; first: number; count: number }[] = []
  #waiters: Waiter[] = []
  /** Pages of this moment: added, sent, and come. */
  #added = 0
  #sent = 0
  #come = 0

  constructor(home: FarHome) {
    this.#home = home
    this.#demands = new Demands(answerTimeoutMs, () => home.silent())
  }

  /** Notes what is to be asked for; `send` asks. */
  add(access: Access, first: number, count: number): void {
    this.#added += count
    const last = this.#queue.at(-1)
    if (last?.access === access && last.first + last.count === first) last.count += count
    else this.#queue.push({ access, first, count })
  }

  /** Asks for as much as may be asked for now. */
  send(): void {
    while (this.#sent - this.#come < maxPagesAsked) {
      const next = this.#queue[0]
      if (next === undefined) return
      const some = Math.min(next.count, pagesPerAsk)
      if (some === next.count) this.#queue.shift()
      this.#sent += some
      this.#demands.made(next.first, some)
      this.#home.request(next.access, next.first, some)
      next.first += some
      next.count -= some
    }
  }

  /** What was not asked for yet never is: who waits for it waits until `close`. */
  withdraw(): void {
    for (const { count } of this.#queue.splice(0)) this.#added -= count
  }

  /** Pages have come. */
  came(first: number, count: number): void {
    this.#come += count
    this.#demands.met(first, count)
    this.send()
    const ready = this.#waiters.filter(({ pages }) => pages <= this.#come)
    if (ready.length === 0) return
    this.#waiters = this.#waiters.filter(({ pages }) => pages > this.#come)
    for (const { resolve } of ready) resolve()
  }

  /** Resolves when as many pages have come as were asked for by now. */
  answered(): Promise<void> {
    if (this.#come >= this.#added) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#waiters.push({ pages: this.#added, resolve, reject })
    })
  }

  close(): void {
    this.#demands.close()
    this.#queue.length = 0
    const error = new XpmemError('ENOENT', 'prefetch', 'the memory is gone')
    for (const { reject } of this.#waiters.splice(0)) reject(error)
  }
}
