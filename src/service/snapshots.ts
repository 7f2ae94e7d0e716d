import { asXpmemError, XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import type { Homes, PagedHome } from '../pager/homes.js'
import { copyPages } from '../pager/snapshot-node.js'
import type { Extent } from './extents.js'
import type { Segment } from './registry.js'
import type { SegmentMemory, SharedFile } from './segment-memory.js'
import { type Asker, clipped, ensureShared, isCurrent, type ShareContext } from './sharing.js'

export interface SnapshotsContext extends ShareContext {
  readonly homes: Homes
  /** Memory was put into files that its owner may let go of. */
  shared(): void
}

/** Bytes that are copied at once. */
export const maxSnapshotBytes = 1024 * 1024

/**
 * Copies of memory of this partition, each page as it was at one moment: stores to it wait while it
 * is copied. Where the owner has no userfaultfd they do not, and a page may show half of one.
 */
export class Snapshots {
  readonly #context: SnapshotsContext

  constructor(context: SnapshotsContext) {
    this.#context = context
  }

  /** The content of a range, of `maxSnapshotBytes` at the most; zeros where nothing is mapped. */
  async read(
    segment: Segment,
    memory: SegmentMemory,
    { offset, length }: { offset: number; length: number },
    asker: Asker,
  ): Promise<Uint8Array> {
    const range = { offset, length, holes: true }
    if (!isCurrent(segment, memory, range, this.#context.groups)) {
      await ensureShared(segment, memory, range, asker, this.#context)
      this.#context.shared()
    }
    const content = new Uint8Array(length)
    for (const extent of memory.known(offset, length)) {
      const part = clipped(extent, range)
      const file = memory.file(part.file)
      if (file !== undefined) await this.#copy(file, part, content, part.offset - offset)
    }
    if (memory.closed) throw new XpmemError('ENOENT', 'attach', 'the segment was removed')
    return content
  }

  async #copy(file: SharedFile, part: Extent, into: Uint8Array, at: number): Promise<void> {
    const paged = file.sealed ? await this.#open(file) : undefined
    if (paged === undefined) return kernel.readAt(file.readonly.number, part.fileOffset, into, at, part.length)
    const { pageSize } = kernel
    try {
      await copyPages(paged.home, [part.fileOffset / pageSize, part.length / pageSize], [into, at])
    } finally {
      this.#context.homes.release(file.identity)
    }
  }

  async #open(file: SharedFile): Promise<PagedHome | undefined> {
    try {
      return await this.#context.homes.open(file.identity, file.readwrite)
    } catch (error) {
      if (asXpmemError(error, 'attach').code === 'ENOTSUP') return undefined
      throw error
    }
  }
}
