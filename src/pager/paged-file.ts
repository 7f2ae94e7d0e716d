import type { Access } from '../coherence/terms.js'
import { kernel } from '../kernel/index.js'
import type { Descriptor } from '../transport/descriptor.js'

/** Where memory of a file is mapped in a process whose faults come here. */
export interface PagedMapping {
  readonly userfault: number
  readonly address: number
  readonly length: number
  /** Bytes into the file. */
  readonly fileOffset: number
}

/** A part of one mapping that shows a range of the file. */
interface Part {
  readonly mapping: PagedMapping
  readonly address: number
  readonly length: number
}

/** A memfd and its mappings in all processes: carries out what must be done to some of its pages. */
export class PagedFile {
  readonly identity: string
  readonly pageCount: number
  /** For reading and writing. */
  readonly descriptor: Descriptor
  readonly #mappings = new Set<PagedMapping>()

  /** Takes one use of the descriptor. */
  constructor(descriptor: Descriptor) {
    this.descriptor = descriptor
    const { identity, size } = kernel.inspect(descriptor.number)
    this.identity = identity
    this.pageCount = Math.floor(size / kernel.pageSize)
  }

  close(): void {
    this.#mappings.clear()
    this.descriptor.release()
  }

  addMapping(mapping: PagedMapping): void {
    this.#mappings.add(mapping)
  }

  removeMapping(mapping: PagedMapping): void {
    this.#mappings.delete(mapping)
  }

  /** Makes stores to the pages wait, in every mapping. */
  protect(first: number, count: number): void {
    for (const part of this.#partsOf(first, count))
      this.#apply(part, (address, length) => protect(part, address, length, true))
  }

  /** Makes stores to the pages of one mapping wait. */
  protectIn(mapping: PagedMapping, first: number, count: number): void {
    const part = partOf(mapping, first, count)
    if (part !== undefined) this.#apply(part, (address, length) => protect(part, address, length, true))
  }

  /** Lets stores to the pages through, and wakes who waits. */
  unprotect(first: number, count: number): void {
    for (const part of this.#partsOf(first, count))
      this.#apply(part, (address, length) => protect(part, address, length, false))
  }

  /** Lets threads that wait for the pages try again. */
  wake(first: number, count: number): void {
    for (const { mapping, address, length } of this.#partsOf(first, count))
      kernel.wake(mapping.userfault, address, length)
  }

  /** Takes the pages out of memory. */
  punch(first: number, count: number): void {
    kernel.punch(this.descriptor.number, first * kernel.pageSize, count * kernel.pageSize)
  }

  /** Zeros where there is nothing yet. */
  populate(first: number, count: number): void {
    kernel.populate(this.descriptor.number, first * kernel.pageSize, count * kernel.pageSize)
  }

  /** The content of pages that are here. */
  read(first: number, count: number, into: Uint8Array, at: number): void {
    kernel.readAt(this.descriptor.number, first * kernel.pageSize, into, at, count * kernel.pageSize)
  }

  write(first: number, count: number, from: Uint8Array, at: number): void {
    kernel.writeAt(this.descriptor.number, first * kernel.pageSize, from, at, count * kernel.pageSize)
  }

  *#partsOf(first: number, count: number): Generator<Part> {
    for (const mapping of this.#mappings) {
      const part = partOf(mapping, first, count)
      if (part !== undefined) yield part
    }
  }

  /**
   * Does something with a part, in halves where not all of it is mapped any more; what is not is
   * passed over.
   */
  #apply(part: Part, carryOut: (address: number, length: number) => boolean): void {
    const left: [address: number, length: number][] = [[part.address, part.length]]
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      const [address, length] = next
      if (carryOut(address, length) || length <= kernel.pageSize) continue
      const half = Math.ceil(length / 2 / kernel.pageSize) * kernel.pageSize
      left.push([address + half, length - half], [address, half])
    }
  }
}

function protect({ mapping }: Part, address: number, length: number, on: boolean): boolean {
  return kernel.protect(mapping.userfault, address, length, on)
}

function partOf(mapping: PagedMapping, first: number, count: number): Part | undefined {
  const from = Math.max(first * kernel.pageSize, mapping.fileOffset)
  const to = Math.min((first + count) * kernel.pageSize, mapping.fileOffset + mapping.length)
  if (from >= to) return undefined
  return { mapping, address: mapping.address + (from - mapping.fileOffset), length: to - from }
}

/** What was done for those who use a paged file, since it is one. */
export interface PagingStats {
  /** How often a thread waited for a page. */
  readonly faults: number
  /** Pages whose content came, and was sent. */
  readonly pagesIn: number
  readonly pagesOut: number
  /** How long threads waited for pages, all together. Milliseconds. */
  readonly waitedMs: number
}

/** Who answers the faults in a file's mappings. */
export interface FaultHandler {
  fault(page: number, access: Access, isMissing: boolean): void
  /** Gets pages before they are used. Resolves when they have come. */
  prefetch(first: number, count: number, access: Access): Promise<void>
  /** Sends home what was changed. Resolves when it is there. */
  flush(first: number, count: number): Promise<void>
  readonly stats: PagingStats
  /** Runs of pages that must be protected in a mapping that is added. */
  forEachProtected(visit: (first: number, count: number) => void): void
}
