import { Home } from '../coherence/home.js'
import type { HomeEffects } from '../coherence/home-effects.js'
import type { Access, Keep, Placing, Put, Returned, Share } from '../coherence/terms.js'
import { kernel } from '../kernel/index.js'
import { Descriptor } from '../transport/descriptor.js'
import { Ages } from './ages.js'
import { Alarm } from './alarm.js'
import { Demands } from './demands.js'
import { type FaultHandler, PagedFile, type PagingStats } from './paged-file.js'

/** A far cache of a file, as its home speaks with it. */
export interface FarNode {
  readonly access: Access
  /** The content is what those pages of `file` have now, and have until the node has answered. */
  data(first: number, count: number, share: Share, file: Descriptor): void
  grant(first: number, count: number): void
  invalidate(first: number, count: number): void
  recall(first: number, count: number, keep: Keep): void
  /** It did not answer in time. */
  silent(): void
}

/** Puts the content of pages into a buffer. */
export type ReadPages = (first: number, count: number, into: Uint8Array, at: number) => void

export interface HomeFileOptions {
  readonly holdMs: number
  /** Pages have the content again that they had before their last writer, who is lost, got them or told of them. */
  rolledBack(pages: readonly RolledBack[]): void
}

/** Pages whose last writer is lost, and how long ago their content was theirs at the most. */
export interface RolledBack {
  readonly first: number
  readonly count: number
  readonly ageMs: number
}

/** Pages that a prefetch takes back from others at the most: what links take well. */
const maxPagesRecalled = 4_096

/** How long a node may take to give pages back. */
const answerTimeoutMs = 5_000

/** The home of one file: carries out what the machine says of its pages. */
export class HomeFile implements HomeEffects, FaultHandler {
  readonly file: PagedFile
  /** What pages contained before they were given away for writing. */
  readonly asideFile: Descriptor
  readonly #options: HomeFileOptions
  readonly #home: Home
  readonly #alarm: Alarm
  readonly #ages: Ages
  readonly #rolledBack: RolledBack[] = []
  readonly #nodes = new Map<number, { readonly node: FarNode; readonly demands: Demands }>()
  /** The content that came with the event under way. */
  #content: Uint8Array = new Uint8Array()
  /** Of nodes that are gone: with those in use they are all from 1 on, so that numbers never run out. */
  readonly #freeNumbers: number[] = []
  /** Pages that threads found no memory at: those that nobody ever stored to are given zeros. */
  readonly #missing = new Set<number>()
  #faults = 0
  #pagesIn = 0
  #pagesOut = 0

  /** Takes one use of the descriptor. */
  constructor(descriptor: Descriptor, options: HomeFileOptions) {
    this.#options = options
    this.file = new PagedFile(descriptor)
    const { pageCount } = this.file
    this.asideFile = new Descriptor(kernel.createFile(pageCount * kernel.pageSize))
    this.#home = new Home({ pageCount, holdMs: options.holdMs }, this)
    this.#ages = new Ages(pageCount)
    this.#alarm = new Alarm((first, count, now) => this.#home.elapsed(first, count, now))
  }

  get nodeCount(): number {
    return this.#nodes.size
  }

  close(): void {
    this.#alarm.close()
    for (const { demands } of this.#nodes.values()) demands.close()
    this.file.close()
    this.asideFile.release()
  }

  join(node: FarNode): number {
    const number = this.#freeNumbers.pop() ?? this.#nodes.size + 1
    this.#home.join(number, node.access)
    this.#nodes.set(number, { node, demands: new Demands(answerTimeoutMs, () => node.silent()) })
    return number
  }

  accessOf(node: number): Access | undefined {
    return this.#node(node)?.access
  }

  gone(node: number): void {
    this.#nodes.get(node)?.demands.close()
    if (this.#nodes.delete(node)) this.#freeNumbers.push(node)
    this.#home.gone(node, performance.now())
    if (this.#rolledBack.length > 0) this.#options.rolledBack(this.#rolledBack.splice(0))
  }

  request(node: number, access: Access, first: number, count: number): void {
    this.#home[access](node, first, count, performance.now())
  }

  invalidated(node: number, first: number, count: number): void {
    this.#home.invalidated(node, first, count, performance.now())
    this.#nodes.get(node)?.demands.met(first, count)
  }

  returned(node: number, first: number, count: number, returned: Returned, content: Uint8Array): void {
    this.#content = content
    this.#home.returned(node, first, count, returned, performance.now())
    this.#nodes.get(node)?.demands.met(first, count)
  }

  put(node: number, first: number, count: number, put: Put, content: Uint8Array): void {
    this.#content = content
    this.#home.put(node, first, count, put)
  }

  dropped(node: number, first: number, count: number): void {
    this.#home.dropped(node, first, count)
  }

  fault(page: number, access: Access, isMissing: boolean): void {
    this.#faults += 1
    if (isMissing) this.#missing.add(page)
    this.#home.fault(page, access, performance.now())
  }

  get stats(): PagingStats {
    return { faults: this.#faults, pagesIn: this.#pagesIn, pagesOut: this.#pagesOut, waitedMs: 0 }
  }

  async prefetch(first: number, count: number, access: Access): Promise<void> {
    const end = first + Math.min(count, maxPagesRecalled)
    for (let page = first; page < end; page += 1) this.#home.fault(page, access, performance.now())
  }

  /** What is changed at home is there. */
  async flush(): Promise<void> {}

  /** Runs of pages that must be protected in a mapping that is added. */
  forEachProtected(visit: (first: number, count: number) => void): void {
    this.#home.forEachProtected(visit)
  }

  protect(first: number, count: number): void {
    this.file.protect(first, count)
  }

  unprotect(first: number, count: number): void {
    this.#populate(first, count)
    this.file.unprotect(first, count)
  }

  aside(first: number, count: number): void {
    this.#copy(this.file.descriptor, this.asideFile, first, count)
    this.#ages.set(first, count)
  }

  updateAside(first: number, count: number, nth: number): void {
    const { pageSize } = kernel
    kernel.writeAt(this.asideFile.number, first * pageSize, this.#content, nth * pageSize, count * pageSize)
    this.#ages.set(first, count)
  }

  install(first: number, count: number, nth: number, placing: Placing): void {
    const isAwaited = this.#found(first, count)
    this.file.install(first, count, placing, { content: this.#content, at: nth * kernel.pageSize, isAwaited })
    this.#pagesIn += count
    this.#forgetAside(first, count)
  }

  restore(first: number, count: number, placing: Placing): void {
    this.#rolledBack.push(...this.#ages.of(first, count))
    this.putBack(first, count, placing)
  }

  putBack(first: number, count: number, placing: Placing): void {
    if (placing === 'protected') this.file.protect(first, count)
    this.#copy(this.asideFile, this.file.descriptor, first, count)
    this.#found(first, count)
    this.#forgetAside(first, count)
  }

  data(node: number, first: number, count: number, share: Share): void {
    this.#pagesOut += count
    // What is given away is gone when it leaves.
    this.#node(node)?.data(first, count, share, share === 'shared' ? this.file.descriptor : this.asideFile)
  }

  grant(node: number, first: number, count: number): void {
    this.#node(node)?.grant(first, count)
  }

  take(first: number, count: number): void {
    this.file.punch(first, count)
  }

  wake(first: number, count: number): void {
    this.#populate(first, count)
    this.file.wake(first, count)
  }

  invalidate(node: number, first: number, count: number): void {
    this.#nodes.get(node)?.demands.made(first, count)
    this.#node(node)?.invalidate(first, count)
  }

  recall(node: number, first: number, count: number, keep: Keep): void {
    this.#nodes.get(node)?.demands.made(first, count)
    this.#node(node)?.recall(first, count, keep)
  }

  delay(first: number, count: number, untilMs: number): void {
    this.#alarm.set(first, count, untilMs)
  }

  /** There is content again; tells whether threads wait at a hole there. */
  #found(first: number, count: number): boolean {
    const before = this.#missing.size
    for (let page = first; page < first + count && this.#missing.size > 0; page += 1) this.#missing.delete(page)
    return this.#missing.size < before
  }

  /** A thread that is woken at a hole would only wait again. */
  #populate(first: number, count: number): void {
    if (this.#missing.size === 0) return
    for (let page = first; page < first + count; page += 1) {
      if (this.#missing.delete(page)) this.file.populate(page, 1)
    }
  }

  #node(node: number): FarNode | undefined {
    return this.#nodes.get(node)?.node
  }

  #forgetAside(first: number, count: number): void {
    kernel.punch(this.asideFile.number, first * kernel.pageSize, count * kernel.pageSize)
  }

  #copy(from: Descriptor, to: Descriptor, first: number, count: number): void {
    kernel.copyPart(from.number, to.number, first * kernel.pageSize, count * kernel.pageSize)
  }
}
