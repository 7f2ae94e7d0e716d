import { XpmemError } from '../errors.js'
import { type DescriptorInfo, kernel } from '../kernel/index.js'
import type { RolledBack } from '../pager/home-file.js'
import { closeAll, Descriptor } from '../transport/descriptor.js'
import type { Row } from '../wire/codec.js'
import { access, extentFlag, hole, maxDescriptors, withheldShift } from '../wire/schema.js'
import type { MemoryAllowance } from './allowance.js'
import { type Extent, ExtentMap, noFile, withheldFile, withheldReasonOf } from './extents.js'
import type { Part } from './verify.js'

/** F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW: the size stays, so no access past the end can raise SIGBUS. */
const requiredSeals = 0x7

export interface FileFacts {
  readonly identity: string
  readonly size: number
  /** A memfd whose size stays. */
  readonly sealed: boolean
}

export interface SharedFile extends FileFacts {
  /** For reading only where its owner has no more. */
  readonly readwrite: Descriptor
  readonly readonly: Descriptor
}

/** A piece in the middle of another makes three of one. */
const mostAddedByOne = 2

/** Pieces a segment's memory may lie in, so that no owner fills the service with them. */
const maxExtents = 32_768

/** Rows of one answer, which must fit a message. */
const maxRows = 1_536

/** The file of what an owner says is a hole. */
function holeOf({ flags }: Row<'extent'>): number {
  return (flags & extentFlag.withheld) === 0 ? noFile : withheldFile(flags >>> withheldShift)
}

function malformed(what: string): XpmemError {
  return new XpmemError('EPROTO', 'share', what)
}

/** What a memfd whose size stays is. EPROTO if the descriptor is of something else. */
export function checkSealed(descriptor: number): DescriptorInfo {
  const info = kernel.inspect(descriptor)
  if (info.seals < 0 || (info.seals & requiredSeals) !== requiredSeals) {
    throw malformed('the descriptor is not of a memfd that is sealed against changes of its size')
  }
  return info
}

/**
 * Checks that two descriptors are one file, the second read-only: a memfd that is sealed against
 * changes of its size, writable through the first; or where `plain` allows it any regular file,
 * perhaps not even that. Takes neither.
 */
function checkPair(readwrite: number, readonly: number, plain: boolean): FileFacts {
  const first = kernel.inspect(readwrite)
  const second = kernel.inspect(readonly)
  const sealed = [first, second].every((info) => info.seals >= 0 && (info.seals & requiredSeals) === requiredSeals)
  if (!sealed) {
    if (!plain && first.seals < 0) throw malformed('the descriptor is not one of a memfd')
    if (!plain) throw malformed('the memfd is not sealed against changes of its size')
    if (first.size < 0) throw malformed('the descriptor is not one of a regular file')
  }
  if (!first.readable || (sealed && !first.writable)) throw malformed('the first descriptor cannot be read and written')
  if (!second.readable || second.writable) throw malformed('the second descriptor is not read-only')
  if (first.identity !== second.identity) throw malformed('the two descriptors are of different files')
  return { identity: first.identity, size: first.size, sealed }
}

/** Whole pages inside of what was asked for, and inside of a file whose size stays. */
function checkRow(row: Row<'extent'>, askedLength: number, file: FileFacts | undefined): void {
  for (const number of [row.offset, row.length, row.fileOffset]) {
    if (number % kernel.pageSize !== 0) throw malformed('an extent is not made of whole pages')
  }
  if (row.length === 0 || row.offset + row.length > askedLength) throw malformed('an extent lies outside of the range')
  if (file?.sealed && row.fileOffset + row.length > file.size) throw malformed('an extent lies outside of its memfd')
}

const noTurn: Promise<void> = Promise.resolve()

/** What an answer to an attach request may have. */
export interface Wanted {
  readonly access: number
  /** Memory that raises SIGBUS is welcome. */
  readonly bus: boolean
  /** What is shown instead of a file, if anything: a copy of the process's own. */
  copyOf(identity: string): Descriptor | undefined
}

/** What an owner was asked for, in bytes of its segment. */
export interface Asked extends Part {
  /** The answer may have holes. */
  readonly holes: boolean
}

/** Where a segment's memory lies: its files, and which parts of the segment are in them. */
export class SegmentMemory {
  readonly #extents = new ExtentMap()
  #files: (SharedFile | undefined)[] = []
  #closed = false
  readonly #allowance: MemoryAllowance
  /** The memory was born in a file and stays there; otherwise its owner may map other memory there. */
  readonly stable: boolean
  /** Requests for the same segment's memory follow each other. */
  turn: Promise<void> = noTurn

  constructor(allowance: MemoryAllowance, stable: boolean) {
    this.#allowance = allowance
    this.stable = stable
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Whether it lies in files, some of it. */
  get hasFiles(): boolean {
    return this.#files.some((file) => file !== undefined)
  }

  /**
   * Takes what an owner says of what it was asked for: rows relative to its start, and a read-write
   * and a read-only descriptor for each file the rows name. EPROTO, and nothing taken
   * over, unless all of it is right. The descriptors are closed in any case but success.
   */
  accept(asked: Asked, rows: readonly Row<'extent'>[], descriptors: readonly number[]): void {
    let pairs: FileFacts[]
    try {
      pairs = this.#check(asked, rows, descriptors)
      this.#takeRoom(pairs, rows.length)
    } catch (error) {
      closeAll(descriptors)
      throw error
    }
    const files = pairs.map((pair, index) => this.#keepFile(pair, descriptors.slice(2 * index, 2 * index + 2)))
    const before = this.#extents.size
    for (const row of rows) {
      const offset = asked.offset + row.offset
      const file = row.descriptor === hole ? holeOf(row) : (files[row.descriptor] as number)
      const fileOffset = file === noFile ? offset : row.fileOffset
      this.#extents.insert({ offset, length: row.length, file, fileOffset })
    }
    this.#allowance.extents.give(before + rows.length * mostAddedByOne - this.#extents.size)
    this.#dropUnused()
  }

  #check(asked: Asked, rows: readonly Row<'extent'>[], descriptors: readonly number[]): FileFacts[] {
    if (descriptors.length % 2 !== 0) throw malformed('descriptors come in pairs')
    const pairs = Array.from({ length: descriptors.length / 2 }, (_, index) =>
      checkPair(descriptors[2 * index] as number, descriptors[2 * index + 1] as number, !this.stable),
    )
    const named = new Set<number>()
    for (const row of rows) {
      const isHole = row.descriptor === hole && asked.holes
      if (!isHole && pairs[row.descriptor] === undefined)
        throw malformed('an extent names a descriptor that did not come')
      checkRow(row, asked.length, pairs[row.descriptor])
      if (!isHole) named.add(row.descriptor)
    }
    if (named.size < pairs.length) throw malformed('a memfd came that no extent lies in')
    return pairs
  }

  /** EMFILE or EFBIG if the owner has too much already. Room for more pieces than may come of the rows is given back. */
  #takeRoom(pairs: readonly FileFacts[], rowCount: number): void {
    const fresh = new Set(pairs.map((pair) => pair.identity))
    for (const file of this.#files) if (file !== undefined) fresh.delete(file.identity)
    const pieces = rowCount * mostAddedByOne
    const { files, extents } = this.#allowance
    if (this.#extents.size + rowCount > maxExtents || !extents.take(pieces)) {
      throw new XpmemError('EFBIG', 'share', 'the memory lies in too many pieces')
    }
    if (files.take(fresh.size)) return
    extents.give(pieces)
    throw new XpmemError('EMFILE', 'share', 'the owner has as many memfds as one process may, or all have together')
  }

  #keepFile(pair: FileFacts, descriptors: readonly number[]): number {
    const known = this.#files.findIndex((file) => file?.identity === pair.identity)
    if (known >= 0) {
      closeAll(descriptors)
      return known
    }
    const [readwrite, readonly] = descriptors as [number, number]
    // Written out, not spread, and not pushed: there is one for every segment, and a spread object has
    // a hidden class of its own, a pushed array room for 17.
    const { identity, size, sealed } = pair
    const file = { identity, size, sealed, readwrite: new Descriptor(readwrite), readonly: new Descriptor(readonly) }
    const free = this.#files.indexOf(undefined)
    if (free < 0) this.#files = [...this.#files, file]
    else this.#files[free] = file
    return free < 0 ? this.#files.length - 1 : free
  }

  /** The first offset of the range that nothing is known of. */
  firstGap(offset: number, length: number): number | undefined {
    return this.#extents.firstGap(offset, length)
  }

  /** Where the gap at an offset ends. */
  gapEnd(offset: number, limit: number): number {
    return this.#extents.nextKnown(offset, limit)
  }

  /** What is known of a range, whole pieces. */
  known(offset: number, length: number): Extent[] {
    return this.#extents.touching(offset, length)
  }

  /** The files that a range lies in, as far as is known. */
  files({ offset, length }: Part): SharedFile[] {
    const numbers = new Set(this.#extents.touching(offset, length).map(({ file }) => file))
    return [...numbers].flatMap((file) => this.#files[file] ?? [])
  }

  file(number: number): SharedFile | undefined {
    return this.#files[number]
  }

  hasFile(identity: string): boolean {
    return this.#files.some((file) => file?.identity === identity)
  }

  identityOf(file: number): string | undefined {
    return this.#files[file]?.identity
  }

  /** Forgets parts that lie there no more, in ascending order, and lets go of files that nothing lies in then. */
  forget(parts: readonly Part[]): void {
    if (parts.length === 0) return
    const before = this.#extents.size
    this.#extents.remove(parts)
    this.#allowance.extents.give(before - this.#extents.size)
    this.#dropUnused()
  }

  /** Forgets what lies in the files of these identities. */
  forgetFiles(identities: ReadonlySet<string>): void {
    const gone = new Set<number>()
    for (const [index, file] of this.#files.entries()) {
      if (file !== undefined && identities.has(file.identity)) gone.add(index)
    }
    if (gone.size > 0) this.forget(this.#extents.in(gone))
  }

  #dropUnused(): void {
    if (this.stable) return
    const used = this.#extents.files()
    for (const [index, file] of this.#files.entries()) {
      if (file === undefined || used.has(index)) continue
      this.#files[index] = undefined
      file.readwrite.release()
      file.readonly.release()
      this.#allowance.files.give(1)
    }
  }

  /**
   * What a holder of a permit needs to map the range, or as much of it as a message has room for; of
   * a stable segment more than was asked for where it is known. EFAULT if the range begins with
   * memory that raises SIGBUS and that is not wanted.
   */
  answer(offset: number, length: number, wanted: Wanted): { rows: Row<'extent'>[]; descriptors: Descriptor[] } {
    const rows: Row<'extent'>[] = []
    const files: number[] = []
    for (const whole of this.#extents.touching(offset, length)) {
      const extent = this.stable ? whole : clip(whole, offset, length)
      this.#requireFit(extent, wanted)
      const reason = withheldReasonOf(extent.file)
      let descriptor = extent.file <= noFile ? hole : files.indexOf(extent.file)
      const isNew = descriptor < 0
      if (rows.length === maxRows || (isNew && files.length === maxDescriptors)) break
      if (isNew) descriptor = files.push(extent.file) - 1
      const fileOffset = descriptor === hole ? 0 : extent.fileOffset
      const flags = reason === 0 ? 0 : extentFlag.withheld + reason * 2 ** withheldShift
      rows.push({ offset: extent.offset, length: extent.length, fileOffset, descriptor, flags })
    }
    const copies = files.map((file) => wanted.copyOf((this.#files[file] as SharedFile).identity))
    for (const row of rows) if (copies[row.descriptor] !== undefined) row.flags = extentFlag.copy
    const descriptors = files.map((file, index) => {
      const { readwrite, readonly } = this.#files[file] as SharedFile
      return copies[index] ?? (wanted.access === access.readwrite ? readwrite : readonly)
    })
    return { rows, descriptors }
  }

  #requireFit(extent: Extent, { bus }: Wanted): void {
    if (bus) return
    const where = `${extent.length} bytes at offset 0x${extent.offset.toString(16)}`
    if (extent.file === noFile)
      throw new XpmemError('EFAULT', 'attach', `${where}: nothing that can be read is mapped here`)
    if (extent.file < noFile)
      throw new XpmemError('EFAULT', 'attach', `${where}: memory that cannot be shared is mapped here`)
    if (this.#files[extent.file]?.sealed) return
    throw new XpmemError(
      'EFAULT',
      'attach',
      `${where}: a file is mapped here that somebody may truncate, which would end the process`,
    )
  }

  /** Which ranges of the segment lie in pages of a file that have earlier content again. */
  rolledBack(identity: string, pages: readonly RolledBack[]): Row<'rollback'>[] {
    const file = this.#files.findIndex((known) => known?.identity === identity)
    if (file < 0) return []
    const rows: Row<'rollback'>[] = []
    for (const extent of this.#extents.in(new Set([file]))) {
      for (const { first, count, ageMs } of pages) {
        const from = Math.max(first * kernel.pageSize, extent.fileOffset)
        const to = Math.min((first + count) * kernel.pageSize, extent.fileOffset + extent.length)
        if (from < to) rows.push({ offset: extent.offset + (from - extent.fileOffset), length: to - from, ageMs })
      }
    }
    return rows
  }

  /** Bytes of memory that the segment's files take now; of one that does not tell, none. */
  usedBytes(): number {
    return this.#files.reduce((sum, file) => (file === undefined ? sum : sum + usedBytesOf(file)), 0)
  }

  close(): void {
    this.#closed = true
    this.#allowance.extents.give(this.#extents.size)
    this.#extents.clear()
    for (const file of this.#files.splice(0)) {
      if (file === undefined) continue
      this.#allowance.files.give(1)
      file.readwrite.release()
      file.readonly.release()
    }
  }
}

/** A plain file's system may refuse to say, and a listing is of all segments. */
function usedBytesOf(file: SharedFile): number {
  try {
    return kernel.inspect(file.readonly.number).usedBytes
  } catch {
    return 0
  }
}

function clip(extent: Extent, offset: number, length: number): Extent {
  const from = Math.max(extent.offset, offset)
  const to = Math.min(extent.offset + extent.length, offset + length)
  return { offset: from, length: to - from, file: extent.file, fileOffset: extent.fileOffset + (from - extent.offset) }
}
