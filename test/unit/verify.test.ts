import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Mapping } from '../../src/kernel/index.js'
import { type Extent, noFile } from '../../src/service/extents.js'
import { staleParts } from '../../src/service/verify.js'

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

test('pieces are looked at each on its own', () => {
  const known = [extent(0, 1), extent(1, 1, 1), extent(4, 2)]
  assert.deepEqual(stale(known, [mapping(0, 2), mapping(4, 6)]), [[1, 2]])
})
