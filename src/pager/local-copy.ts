import type { Access, Keep, Put, Returned, Share } from '../coherence/terms.js'
import { kernel } from '../kernel/index.js'
import type { Descriptor } from '../transport/descriptor.js'
import { CacheFile, type CacheFileOptions, type FarHome } from './cache-file.js'
import type { FarNode, HomeFile } from './home-file.js'

/**
 * A copy of a paged file for a process of the same partition that may only read: the kernel answers
 * no faults of what is mapped with a read-only descriptor, and a writable one of the file itself it
 * must not have. The copy is a cache like those of other partitions, one hop nearer.
 */
export class LocalCopy implements FarHome, FarNode {
  readonly access: Access = 'read'
  readonly cache: CacheFile
  readonly #home: HomeFile
  readonly #node: number
  #closed = false

  constructor(home: HomeFile, options: Omit<CacheFileOptions, 'length' | 'access'>) {
    this.#home = home
    this.cache = new CacheFile(this, { ...options, length: home.file.pageCount * kernel.pageSize, access: 'read' })
    this.cache.attached({ first: 0, count: home.file.pageCount })
    this.#node = home.join(this)
  }

  /** Nothing shows the copy any more. */
  close(): void {
    this.#closed = true
    this.#home.gone(this.#node)
    this.cache.close()
  }

  data(first: number, count: number, share: Share, file: Descriptor): void {
    const content = new Uint8Array(count * kernel.pageSize)
    kernel.readAt(file.number, first * kernel.pageSize, content, 0, content.length)
    this.#later(() => this.cache.taken(first, count, share, content))
  }

  grant(first: number, count: number): void {
    this.#later(() => this.cache.granted(first, count))
  }

  invalidate(first: number, count: number): void {
    this.#later(() => this.cache.invalidate(first, count))
  }

  recall(first: number, count: number, keep: Keep): void {
    this.#later(() => this.cache.recall(first, count, keep))
  }

  request(access: Access, first: number, count: number): void {
    this.#later(() => this.#home.request(this.#node, access, first, count))
  }

  invalidated(first: number, count: number): void {
    this.#later(() => this.#home.invalidated(this.#node, first, count))
  }

  dropped(first: number, count: number): void {
    this.#later(() => this.#home.dropped(this.#node, first, count))
  }

  /** A copy that only reads has nothing to give back. */
  returned(first: number, count: number, returned: Returned): void {
    this.#later(() => this.#home.returned(this.#node, first, count, returned, new Uint8Array()))
  }

  put(_first: number, _count: number, _put: Put): void {
    throw new Error('a copy that only reads has nothing to put')
  }

  sync(): Promise<void> {
    return Promise.resolve()
  }

  silent(): void {
    // Both ends are here: neither waits for the other alone.
  }

  /** Machines do not call each other from inside of an event. */
  #later(work: () => void): void {
    queueMicrotask(() => {
      if (!this.#closed) work()
    })
  }
}
