import type { Access, Keep, Share } from '../coherence/terms.js'
import { kernel } from '../kernel/index.js'
import type { Descriptor } from '../transport/descriptor.js'
import type { FarNode, HomeFile } from './home-file.js'

/** Reads pages of a home once: a cache that shares them for just as long as it copies them. */
class SnapshotNode implements FarNode {
  readonly access: Access = 'read'
  readonly #home: HomeFile
  readonly #node: number
  readonly #first: number
  readonly #into: Uint8Array
  readonly #at: number
  #missing: number
  #ended = false
  readonly #done: () => void

  constructor(home: HomeFile, [first, count]: [number, number], [into, at]: [Uint8Array, number], done: () => void) {
    this.#home = home
    this.#first = first
    this.#into = into
    this.#at = at
    this.#missing = count
    this.#done = done
    this.#node = home.join(this)
    home.request(this.#node, 'read', first, count)
  }

  data(first: number, count: number, _share: Share, file: Descriptor): void {
    const { pageSize } = kernel
    const at = this.#at + (first - this.#first) * pageSize
    kernel.readAt(file.number, first * pageSize, this.#into, at, count * pageSize)
    this.#missing -= count
    // The home is in the middle of an event.
    if (this.#missing === 0) queueMicrotask(() => this.#end())
  }

  /** What is copied need not be kept. */
  invalidate(first: number, count: number): void {
    queueMicrotask(() => {
      // It may have all pages by then, and be gone.
      if (!this.#ended) this.#home.invalidated(this.#node, first, count)
    })
  }

  grant(): void {
    throw new Error('a node that only reads was granted pages')
  }

  recall(_first: number, _count: number, _keep: Keep): void {
    throw new Error('a node that only reads was asked for pages')
  }

  silent(): void {
    this.#end()
  }

  #end(): void {
    // Another may have its number by then.
    if (this.#ended) return
    this.#ended = true
    this.#home.gone(this.#node)
    this.#done()
  }
}

/** Copies pages, each as it was at one moment. */
export function copyPages(
  home: HomeFile,
  pages: [first: number, count: number],
  into: [Uint8Array, number],
): Promise<void> {
  return new Promise((resolve) => {
    new SnapshotNode(home, pages, into, resolve)
  })
}
