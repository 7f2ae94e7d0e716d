import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Mapping } from '../../src/kernel/index.js'
import { type Extent, noFile, withheldFile } from '../../src/service/extents.js'
import { staleParts } from '../../src/service/verify.js'
import { Random } from './random.js'

const page = 4096
const base = 0x7000_0000n

const extent = (offset: number, length: number, file = 0, fileOffset = offset): Extent => ({
  offset: offset * page,
  length: length * page,
  file,
  fileOffset: fileOffset * page,
})

const mapping = (start: number, stop: number, more: Partial<Mapping> = {}): Mapping => ({
  start: base + BigInt(start * page),
  end: base + BigInt(stop * page),
  readable: true,
  shared: true,
  identity: 'file 0',
  fileOffset: start * page,
  mark: 0,
  ...more,
})

/** The stale parts, as pairs of page numbers. */
const stale = (known: Extent[], mappings: Mapping[]) =>
  staleParts(base, known, (file) => `file ${file}`, mappings).map(({ offset, length }) => [
    offset / page,
    (offset + length) / page,
  ])

test('what is mapped as it was is not stale, also if the mapping reaches further or is cut in two', () => {
  assert.deepEqual(stale([extent(2, 3)], [mapping(2, 5)]), [])
  assert.deepEqual(stale([extent(2, 3)], [mapping(0, 9)]), [])
  assert.deepEqual(stale([extent(2, 3)], [mapping(2, 3), mapping(3, 5, { readable: false })]), [])
})

test('what was unmapped is stale, at the start, in the middle and at the end', () => {
  assert.deepEqual(stale([extent(2, 6)], [mapping(3, 4), mapping(5, 7)]), [
    [2, 3],
    [4, 5],
    [7, 8],
  ])
  assert.deepEqual(stale([extent(2, 6)], []), [[2, 8]])
})

test('private memory, another file, and another place of the same file are stale', () => {
  assert.deepEqual(stale([extent(0, 2)], [mapping(0, 2, { shared: false })]), [[0, 2]])
  assert.deepEqual(stale([extent(0, 2)], [mapping(0, 2, { identity: 'file 1' })]), [[0, 2]])
  assert.deepEqual(stale([extent(0, 2)], [mapping(0, 2, { fileOffset: page })]), [[0, 2]])
  assert.deepEqual(stale([extent(0, 2, 0, 7)], [mapping(0, 1, { fileOffset: 7 * page }), mapping(1, 2)]), [[1, 2]])
})

test('a hole is stale where something that can be read was mapped since', () => {
  assert.deepEqual(stale([extent(0, 4, noFile)], []), [])
  assert.deepEqual(stale([extent(0, 4, noFile)], [mapping(1, 2, { readable: false })]), [])
  assert.deepEqual(stale([extent(0, 4, noFile)], [mapping(1, 2, { shared: false })]), [[1, 2]])
})

test('memory that is withheld is stale where the mapping there is another one, or none', () => {
  const known = [extent(2, 4, withheldFile(3), 72)]
  const there = { shared: false, mark: 70 * page }
  assert.deepEqual(stale(known, [mapping(0, 9, there)]), [])
  assert.deepEqual(stale(known, [mapping(2, 6, { ...there, mark: 72 * page })]), [])
  assert.deepEqual(stale(known, [mapping(0, 4, there), mapping(4, 9, there)]), [[4, 6]])
  assert.deepEqual(stale(known, [mapping(0, 9, { shared: false, mark: 71 * page })]), [[2, 6]])
  assert.deepEqual(stale(known, [mapping(0, 3, there)]), [[3, 6]])
  assert.deepEqual(stale(known, []), [[2, 6]])
})

test('pieces are looked at each on its own', () => {
  const known = [extent(0, 1), extent(1, 1, 1), extent(4, 2)]
  assert.deepEqual(stale(known, [mapping(0, 2), mapping(4, 6)]), [[1, 2]])
})

test('any pieces against any mappings: a page is stale just if it is not what it was', () => {
  const random = new Random(11)
  const pages = 40
  const pieces = <T>(make: (start: number, stop: number) => T): T[] => {
    const all: T[] = []
    for (let at = random.below(4); at < pages; at += random.below(3)) {
      const stop = Math.min(pages, at + 1 + random.below(6))
      all.push(make(at, stop))
      at = stop
    }
    return all
  }
  for (let round = 0; round < 500; round += 1) {
    const known = pieces((start, stop) => {
      const file = random.below(3) - 1
      return extent(start, stop - start, file, file === noFile ? start : start + random.below(2))
    })
    const mappings = pieces((start, stop) => {
      const more = { readable: random.below(4) > 0, shared: random.below(4) > 0, identity: `file ${random.below(2)}` }
      return mapping(start, stop, { ...more, fileOffset: (start + random.below(2)) * page })
    })
    const isStale = (at: number) => {
      const piece = known.find(({ offset, length }) => at * page >= offset && at * page < offset + length)
      const there = mappings.find(
        ({ start, end }) => BigInt(at * page) >= start - base && BigInt(at * page) < end - base,
      )
      if (piece === undefined) return false
      if (piece.file === noFile) return there?.readable ?? false
      if (!there?.shared || there.identity !== `file ${piece.file}`) return true
      return there.fileOffset + at * page - Number(there.start - base) !== piece.fileOffset + at * page - piece.offset
    }
    const told = stale(known, mappings)
    const expected = Array.from({ length: pages }, (_, at) => at).filter(isStale)
    assert.deepEqual(
      told.flatMap(([from, stop]) =>
        Array.from({ length: (stop as number) - (from as number) }, (_, n) => (from as number) + n),
      ),
      expected,
    )
  }
})

test('each mapping is looked at a few times, however many pieces there are', () => {
  const count = 2_000
  let looks = 0
  const mappings = Array.from({ length: count }, (_, index) => {
    const whole = mapping(index, index + 1)
    const get = () => {
      looks += 1
      return whole.end
    }
    return Object.defineProperty({ ...whole }, 'end', { get })
  })
  assert.deepEqual(
    stale(
      Array.from({ length: count }, (_, index) => extent(index, 1)),
      mappings,
    ),
    [],
  )
  assert(looks <= 4 * count, `${looks} looks`)
})
