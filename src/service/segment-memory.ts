import { XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import { closeAll, Descriptor } from '../transport/descriptor.js'
import type { Row } from '../wire/codec.js'
import { access, maxDescriptors } from '../wire/schema.js'
import type { MemoryAllowance } from './allowance.js'
import { ExtentMap } from './extents.js'

/** F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW: the size stays, so no access past the end can raise SIGBUS. */
const requiredSeals = 0x7

interface SharedFile {
  readonly identity: string
  readonly size: number
  readonly readwrite: Descriptor
  readonly readonly: Descriptor
}

/** A piece in the middle of another makes three of one. */
const mostAddedByOne = 2

/** Pieces a segment's memory may lie in, so that no owner fills the service with them. */
const maxExtents = 32_768

function malformed(what: string): XpmemError {
  return new XpmemError('EPROTO', 'share', what)
}

/** Checks that two descriptors are one sealed memfd, the first writable, the second not. Takes neither. */
function checkPair(readwrite: number, readonly: number): { identity: string; size: number } {
  const first = kernel.inspect(readwrite)
  const second = kernel.inspect(readonly)
  for (const info of [first, second]) {
    if (info.seals < 0) throw malformed('the descriptor is not one of a memfd')
    if ((info.seals & requiredSeals) !== requiredSeals)
      throw malformed('the memfd is not sealed against changes of its size')
  }
  if (!first.readable || !first.writable) throw malformed('the first descriptor cannot be read and written')
  if (!second.readable || second.writable) throw malformed('the second descriptor is not read-only')
  if (first.identity !== second.identity) throw malformed('the two descriptors are of different files')
  return { identity: first.identity, size: first.size }
}

/** Whole pages inside the file and inside what was asked for. */
function checkRow(row: Row<'extent'>, askedLength: number, size: number): void {
  for (const number of [row.offset, row.length, row.fileOffset]) {
    if (number % kernel.pageSize !== 0) throw malformed('an extent is not made of whole pages')
  }
  if (row.length === 0 || row.offset + row.length > askedLength) throw malformed('an extent lies outside of the range')
  if (row.fileOffset + row.length > size) throw malformed('an extent lies outside of its memfd')
}

const noTurn: Promise<void> = Promise.resolve()

/** Where a segment's memory lies: its files, and which parts of the segment are in them. */
export class SegmentMemory {
  readonly #extents = new ExtentMap()
  #files: SharedFile[] = []
  #closed = false
  readonly #allowance: MemoryAllowance
  /** Requests for the same segment's memory follow each other. */
  turn: Promise<void> = noTurn

  constructor(allowance: MemoryAllowance) {
    this.#allowance = allowance
  }

  get closed(): boolean {
    return this.#closed
  }

  /**
   * Takes what an owner says of `askedLength` bytes at `base`: rows relative to `base`, and a
   * read-write and a read-only descriptor for each file the rows name. EPROTO, and nothing taken
   * over, unless all of it is right. The descriptors are closed in any case but success.
   */
  accept(base: number, askedLength: number, rows: readonly Row<'extent'>[], descriptors: readonly number[]): void {
    let pairs: { identity: string; size: number }[]
    try {
      if (descriptors.length % 2 !== 0 || descriptors.length === 0) throw malformed('descriptors come in pairs')
      pairs = Array.from({ length: descriptors.length / 2 }, (_, index) =>
        checkPair(descriptors[2 * index] as number, descriptors[2 * index + 1] as number),
      )
      for (const row of rows) {
        const pair = pairs[row.descriptor]
        if (pair === undefined) throw malformed('an extent names a descriptor that did not come')
        checkRow(row, askedLength, pair.size)
      }
      const named = new Set(rows.map((row) => row.descriptor))
      if (named.size < pairs.length) throw malformed('a memfd came that no extent lies in')
      this.#takeRoom(pairs, rows.length)
    } catch (error) {
      closeAll(descriptors)
      throw error
    }
    const files = pairs.map((pair, index) => this.#keepFile(pair, descriptors.slice(2 * index, 2 * index + 2)))
    const before = this.#extents.size
    for (const row of rows) {
      const file = files[row.descriptor] as number
      this.#extents.insert({ offset: base + row.offset, length: row.length, file, fileOffset: row.fileOffset })
    }
    this.#allowance.extents.give(before + rows.length * mostAddedByOne - this.#extents.size)
  }

  /** EMFILE or EFBIG if the owner has too much already. Room for more pieces than may come of the rows is given back. */
  #takeRoom(pairs: readonly { identity: string }[], rowCount: number): void {
    const fresh = new Set(pairs.map((pair) => pair.identity))
    for (const { identity } of this.#files) fresh.delete(identity)
    const pieces = rowCount * mostAddedByOne
    const { files, extents } = this.#allowance
    if (this.#extents.size + rowCount > maxExtents || !extents.take(pieces)) {
      throw new XpmemError('EFBIG', 'share', 'the memory lies in too many pieces')
    }
    if (files.take(fresh.size)) return
    extents.give(pieces)
    throw new XpmemError('EMFILE', 'share', 'the owner has as many memfds as one process may, or all have together')
  }

  #keepFile(pair: { identity: string; size: number }, descriptors: readonly number[]): number {
    const known = this.#files.findIndex((file) => file.identity === pair.identity)
    if (known >= 0) {
      closeAll(descriptors)
      return known
    }
    const [readwrite, readonly] = descriptors as [number, number]
    // Written out, not spread, and not pushed: there is one for every segment, and a spread object has
    // a hidden class of its own, a pushed array room for 17.
    const { identity, size } = pair
    const file = { identity, size, readwrite: new Descriptor(readwrite), readonly: new Descriptor(readonly) }
    this.#files = [...this.#files, file]
    return this.#files.length - 1
  }

  /** The first offset of the range that is not in a file yet. */
  firstGap(offset: number, length: number): number | undefined {
    return this.#extents.firstGap(offset, length)
  }

  /** What a holder of a permit needs to map the range; more of the segment than that where it is known. */
  answer(offset: number, length: number, wanted: number): { rows: Row<'extent'>[]; descriptors: Descriptor[] } {
    const extents = this.#extents.touching(offset, length)
    const files = [...new Set(extents.map((extent) => extent.file))]
    if (files.length > maxDescriptors) {
      throw new XpmemError('EFBIG', 'attach', 'the range lies in too many files: attach it in parts')
    }
    return {
      rows: extents.map(({ file, ...extent }) => ({ ...extent, descriptor: files.indexOf(file), reserved: 0 })),
      descriptors: files.map((file) => {
        const { readwrite, readonly } = this.#files[file] as SharedFile
        return wanted === access.readwrite ? readwrite : readonly
      }),
    }
  }

  /** Bytes of memory that the segment's files take now. */
  usedBytes(): number {
    return this.#files.reduce((sum, file) => sum + kernel.inspect(file.readonly.number).usedBytes, 0)
  }

  close(): void {
    this.#closed = true
    this.#allowance.extents.give(this.#extents.size)
    this.#allowance.files.give(this.#files.length)
    this.#extents.clear()
    for (const file of this.#files.splice(0)) {
      file.readwrite.release()
      file.readonly.release()
    }
  }
}
