import { XpmemError } from '../errors.js'
import { kernel, type Mapping, type Poll } from '../kernel/index.js'
import { countFirst } from '../sorted.js'
import type { AddressRange, FaultHandler, FaultSource, PagedFile, PagedMapping } from './paged-file.js'

/** Faults taken at once; the poll comes back for more after others had their turn. */
const faultsPerTurn = 64

/** Mappings of one process that are kept in mind. */
const maxMappings = 65_536

const write = 1
const isProtected = 2
const moved = 4

interface Entry {
  readonly mapping: PagedMapping
  readonly file: PagedFile
  readonly handler: FaultHandler
}

/** How often a process may be waited for that moves memory, until it is let have a turn. */
const maxSettled = 10_000

const soon = Promise.resolve()

/** The mappings of a process that have some of a range; undefined if they cannot be known. */
export type LookAtMappings = (address: bigint, length: number) => readonly Mapping[] | undefined

/** The userfaultfd of one process: finds out which page of which file each of its faults is about. */
export class ProcessPager implements FaultSource {
  readonly userfault: number
  readonly #poll: Poll
  readonly #look: LookAtMappings
  /** What was read, in pairs of numbers; those from `at` on are still to be carried out. */
  readonly #faults = new Float64Array(4 * faultsPerTurn)
  #count = 0
  #at = 0
  /** By address; they do not overlap. */
  #entries: Entry[] = []
  #closed = false
  #settled = 0
  /** Faults that were read before their turn. */
  #deferred: Fault[] = []

  /** Takes the userfaultfd. */
  constructor(userfault: number, look: LookAtMappings) {
    this.userfault = userfault
    this.#look = look
    this.#poll = kernel.poll(userfault, (_, taken) => this.#turn(taken))
    this.#poll.take(this.#faults, 0)
    this.#poll.start(1)
  }

  /**
   * Memory of the process shows a file from now on. What was mapped there before is mapped there no
   * more.
   */
  add(
    file: PagedFile,
    handler: FaultHandler,
    where: { address: number; length: number; fileOffset: number },
  ): PagedMapping {
    const { address, length, fileOffset } = where
    const mapping = { source: this, address, length, fileOffset }
    const [first, end] = this.#overlapping(mapping)
    if (this.#entries.length - (end - first) >= maxMappings) {
      throw new XpmemError(
        'EMFILE',
        'mapped',
        `this process has ${maxMappings} paged mappings, which is the most one may have`,
      )
    }
    const replaced = this.#entries.splice(first, end - first, { mapping, file, handler })
    for (const entry of replaced) entry.file.removeMapping(entry.mapping)
    file.addMapping(mapping)
    return mapping
  }

  /** Which mappings have some of a range: from the first to before the last. */
  #overlapping(range: AddressRange): [first: number, end: number] {
    const end = this.#indexAfter(range.address + range.length - 1)
    let first = this.#indexAfter(range.address)
    const before = this.#entries[first - 1]
    if (before !== undefined && overlaps(before.mapping, range)) first -= 1
    return [first, end]
  }

  /** What is paged in a range of the process's memory: handlers, and pages of their files. */
  *within(range: AddressRange): Generator<{ handler: FaultHandler; first: number; count: number }> {
    for (const { mapping, handler } of this.#entries.slice(...this.#overlapping(range))) {
      const start = Math.max(mapping.address, range.address)
      const end = Math.min(mapping.address + mapping.length, range.address + range.length)
      const first = Math.floor((start - mapping.address + mapping.fileOffset) / kernel.pageSize)
      yield { handler, first, count: Math.ceil((end - start) / kernel.pageSize) }
    }
  }

  /** Forgets a file's mappings. */
  remove(file: PagedFile): void {
    this.#drop((entry) => entry.file === file)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#drop(() => true)
    this.#poll.close()
    kernel.close(this.userfault)
  }

  #drop(unwanted: (entry: Entry) => boolean): void {
    this.#entries = this.#entries.filter((entry) => {
      if (!unwanted(entry)) return true
      entry.file.removeMapping(entry.mapping)
      return false
    })
  }

  /** Where the first mapping above an address is, or would be. */
  #indexAfter(address: number): number {
    return countFirst(this.#entries, ({ mapping }) => mapping.address <= address)
  }

  /** So many pairs of numbers have been read, or the process is gone. */
  #turn(count: number): void {
    this.#settled = 0
    if (count < 0) return this.close()
    this.#begin(count)
    while (this.#at < this.#count && !this.#closed) this.#next(false)
  }

  settle(): boolean {
    this.#settled += 1
    if (this.#settled > maxSettled) this.close()
    const isFirst = this.#deferred.length === 0
    // What was read before is older than what is read now.
    this.#defer()
    this.#begin(this.#read())
    this.#defer()
    if (isFirst && this.#deferred.length > 0) void soon.then(() => this.#takeDeferred())
    return !this.#closed
  }

  mapped({ address, length }: AddressRange): AddressRange[] | undefined {
    return this.#look(BigInt(address), length)?.map((mapping) => {
      const start = Math.max(address, Number(mapping.start))
      return { address: start, length: Math.min(address + length, Number(mapping.end)) - start }
    })
  }

  /** What the process has to say now. */
  #read(): number {
    if (this.#closed) return 0
    try {
      return kernel.faults(this.userfault, this.#faults)
    } catch {
      // The process is gone.
      this.close()
      return 0
    }
  }

  #begin(count: number): void {
    this.#count = count
    this.#at = 0
  }

  /** Carries out what is no fault; the faults wait, known by what was mapped there then. */
  #defer(): void {
    while (this.#at < this.#count && !this.#closed) this.#next(true)
  }

  #takeDeferred(): void {
    for (const fault of this.#deferred.splice(0)) {
      // The file may be paged no more.
      if (this.#entries.some(({ handler }) => handler === fault.handler)) answer(fault.handler, fault.page, fault.kind)
    }
  }

  /** Carries out the next that was read; `waits`: if it is a fault it has its turn later. */
  #next(waits: boolean): void {
    const [address, kind] = [this.#faults[2 * this.#at] as number, this.#faults[2 * this.#at + 1] as number]
    this.#at += 1
    if (kind !== moved) return this.#fault(address, kind, waits)
    const [to, length] = [this.#faults[2 * this.#at] as number, this.#faults[2 * this.#at + 1] as number]
    this.#at += 1
    this.#moved(address, to, length)
  }

  /** The process has moved memory: what is registered of it stays so. */
  #moved(from: number, to: number, length: number): void {
    const range = { address: from, length }
    for (const { mapping, file, handler } of this.#entries.slice(...this.#overlapping(range))) {
      const start = Math.max(mapping.address, from)
      const end = Math.min(mapping.address + mapping.length, from + length)
      const fileOffset = mapping.fileOffset + (start - mapping.address)
      this.add(file, handler, { address: to + (start - from), length: end - start, fileOffset })
    }
  }

  #fault(address: number, kind: number, waits: boolean): void {
    const entry = this.#entries[this.#indexAfter(address) - 1]
    if (entry === undefined || address >= entry.mapping.address + entry.mapping.length) return
    const { mapping, handler } = entry
    const page = Math.floor((address - mapping.address + mapping.fileOffset) / kernel.pageSize)
    if (waits) this.#deferred.push({ handler, page, kind })
    else answer(handler, page, kind)
  }
}

interface Fault {
  readonly handler: FaultHandler
  /** Of the file. */
  readonly page: number
  readonly kind: number
}

function answer(handler: FaultHandler, page: number, kind: number): void {
  handler.fault(page, (kind & write) !== 0 ? 'write' : 'read', (kind & isProtected) === 0)
}

function overlaps(a: AddressRange, b: AddressRange): boolean {
  return a.address < b.address + b.length && b.address < a.address + a.length
}
