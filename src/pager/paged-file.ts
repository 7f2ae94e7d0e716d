import type { Access, Placing } from '../coherence/terms.js'
import { kernel } from '../kernel/index.js'
import type { Descriptor } from '../transport/descriptor.js'

/** The userfaultfd of a process. */
export interface FaultSource {
  readonly userfault: number
  /**
   * The process is moving memory, and waits until that is known here. False if it does so without end,
   * and is given up.
   */
  settle(): boolean
  /** What is mapped in a range of the process's memory; undefined if this service may not know. */
  mapped(range: AddressRange): readonly AddressRange[] | undefined
}

/** A part of a process's memory. */
export interface AddressRange {
  readonly address: number
  readonly length: number
}

/** Where memory of a file is mapped in a process whose faults come here. */
export interface PagedMapping {
  readonly source: FaultSource
  readonly address: number
  readonly length: number
  /** Bytes into the file. */
  readonly fileOffset: number
}

const movingMemory = -1

/** Content that came, from `at` on. */
export interface Arrived {
  readonly content: Uint8Array
  readonly at: number
  readonly isAwaited: boolean
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
    for (const mapping of this.#mappings) setProtection(mapping, first, count, true)
  }

  /** Makes stores to the pages of one mapping wait. */
  protectIn(mapping: PagedMapping, first: number, count: number): void {
    setProtection(mapping, first, count, true)
  }

  /** Lets stores to the pages through, and wakes who waits. */
  unprotect(first: number, count: number): void {
    for (const mapping of this.#mappings) setProtection(mapping, first, count, false)
  }

  /** Lets threads that wait for the pages try again. */
  wake(first: number, count: number): void {
    for (const mapping of this.#mappings) {
      const { address, length } = partOf(mapping, first, count)
      if (length > 0) kernel.wake(mapping.source.userfault, address, length)
    }
  }

  /**
   * Puts content into holes, and wakes who waits for it. `isAwaited`: a thread waits at one of the
   * pages, so that they are mapped where they are known to be.
   */
  install(first: number, count: number, placing: Placing, { content, at, isAwaited }: Arrived): void {
    const done = isAwaited ? this.#fill(first, count, placing, content, at) : 0
    if (done === count) return
    const [from, left] = [first + done, count - done]
    if (placing === 'protected') this.protect(from, left)
    this.write(from, left, content, at + done * kernel.pageSize)
    if (placing !== 'protected' || !this.#map(from, left)) this.wake(from, left)
  }

  /**
   * Has the only mapping show pages that the file has now, protected, so that their first use is no
   * fault. By address: if another file is mapped there by now, its pages are shown protected, too, at
   * the price of a fault that it has for nothing. Without protection stores to them could go unseen.
   * Tells whether all of them are shown, and who waits is woken.
   */
  #map(first: number, count: number): boolean {
    const [mapping] = this.#mappings
    if (mapping === undefined || this.#mappings.size > 1) return false
    const { address, length } = partOf(mapping, first, count)
    return length > 0 && kernel.map(mapping.source.userfault, address, length) === length
  }

  /**
   * In one call, by address, if only one mapping shows the pages: others would have to be marked too.
   * A process that has unmapped it may have mapped another file there and be about to say so; not one
   * with a thread that waits there. Tells how many pages that did.
   */
  #fill(first: number, count: number, placing: Placing, content: Uint8Array, at: number): number {
    const [mapping] = this.#mappings
    if (mapping === undefined || this.#mappings.size > 1) return 0
    const { address, length } = partOf(mapping, first, count)
    if (length !== count * kernel.pageSize) return 0
    const { userfault } = mapping.source
    let done = 0
    while (done < length) {
      const some = kernel.fill(userfault, address + done, content, at + done, length - done, placing === 'protected')
      if (some <= 0) break
      done += some
    }
    return done / kernel.pageSize
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
}

/** Passes over what is not mapped any more. */
function setProtection(mapping: PagedMapping, first: number, count: number, on: boolean): void {
  const { address, length } = partOf(mapping, first, count)
  if (length > 0) protectRange(mapping.source, { address, length }, on)
}

/**
 * Where not all of a range is mapped any more, or some of it is other memory, what is mapped is taken
 * part by part: the kernel does not say how far it came.
 */
function protectRange(source: FaultSource, range: AddressRange, on: boolean): void {
  if (protectWhole(source, range, on) || range.length <= kernel.pageSize) return
  for (const part of source.mapped(range) ?? halvesOf(range)) {
    if (part.length < range.length) protectRange(source, part, on)
    // Other memory, unless it has changed since that look.
    else if (!protectWhole(source, range, on) && !isOne(source.mapped(range), range)) protectRange(source, range, on)
  }
}

function halvesOf({ address, length }: AddressRange): AddressRange[] {
  const half = Math.ceil(length / 2 / kernel.pageSize) * kernel.pageSize
  return [
    { address, length: half },
    { address: address + half, length: length - half },
  ]
}

/** Whether one mapping has all of a range. */
function isOne(parts: readonly AddressRange[] | undefined, { length }: AddressRange): boolean {
  return parts?.[0]?.length === length
}

/** False if some of it is not registered. */
function protectWhole(source: FaultSource, { address, length }: AddressRange, on: boolean): boolean {
  let done = kernel.protect(source.userfault, address, length, on)
  while (done === movingMemory) {
    if (!source.settle()) return true
    done = kernel.protect(source.userfault, address, length, on)
  }
  return done > 0
}

/** The part of a mapping that shows pages of the file; of no length if it shows none of them. */
function partOf(mapping: PagedMapping, first: number, count: number): { address: number; length: number } {
  const from = Math.max(first * kernel.pageSize, mapping.fileOffset)
  const to = Math.min((first + count) * kernel.pageSize, mapping.fileOffset + mapping.length)
  return { address: mapping.address + (from - mapping.fileOffset), length: to - from }
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
