import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Extent, ExtentMap } from '../../src/service/extents.js'
import { Random } from './random.js'

const size = 64

/** What every unit of a segment is, told one by one: a file and an offset in it, or nothing. */
type Model = (readonly [file: number, at: number] | undefined)[]

function fill(model: Model, { offset, length, file, fileOffset }: Extent): void {
  for (let unit = 0; unit < length; unit += 1) model[offset + unit] = [file, fileOffset + unit]
}

function unfold(extents: readonly Extent[]): Model {
  const model: Model = Array(size).fill(undefined)
  for (const extent of extents) fill(model, extent)
  return model
}

function gapOf(model: Model, offset: number, length: number): number | undefined {
  for (let unit = offset; unit < offset + length; unit += 1) if (model[unit] === undefined) return unit
  return undefined
}

function randomRange(random: Random): { offset: number; length: number } {
  const offset = random.below(size)
  return { offset, length: 1 + random.below(size - offset) }
}

const stopOf = (range: { offset: number; length: number } | undefined) =>
  range === undefined ? 0 : range.offset + range.length

function checkShape(extents: readonly Extent[]): void {
  extents.forEach((extent, index) => {
    assert(extent.length > 0)
    const next = extents[index + 1]
    if (next === undefined) return
    assert(extent.offset + extent.length <= next.offset, 'sorted and without overlap')
    const joins =
      extent.offset + extent.length === next.offset &&
      extent.file === next.file &&
      extent.fileOffset + extent.length === next.fileOffset
    assert(!joins, 'joined where they can be')
  })
}

test('an extent map says of every unit what was last said of it', () => {
  const random = new Random(2026)
  for (let round = 0; round < 400; round += 1) {
    const map = new ExtentMap()
    const model: Model = Array(size).fill(undefined)
    for (let step = 0; step < 40; step += 1) {
      const range = randomRange(random)
      // Half of the pieces lie in their file as in the segment, so that neighbours can join.
      const fileOffset = random.below(2) === 0 ? range.offset : random.below(100)
      const extent = { ...range, file: random.below(2), fileOffset }
      if (random.below(4) === 0) {
        const ranges = [range, randomRange(random)].sort((a, b) => a.offset - b.offset)
        const apart = ranges.filter(({ offset }, index) => index === 0 || offset >= stopOf(ranges[0]))
        map.remove(apart)
        for (const { offset, length } of apart) model.fill(undefined, offset, offset + length)
      } else {
        map.insert(extent)
        fill(model, extent)
      }
      const all = map.touching(0, size)
      assert.deepEqual(unfold(all), model)
      checkShape(all)
      const asked = randomRange(random)
      assert.equal(map.firstGap(asked.offset, asked.length), gapOf(model, asked.offset, asked.length))
      const known = model.findIndex((unit, index) => index >= asked.offset && unit !== undefined)
      assert.equal(map.nextKnown(asked.offset, 50), Math.min(known < 0 ? 50 : known, 50))
      assert.deepEqual(map.files(), new Set(model.flatMap((unit) => unit?.[0] ?? [])))
    }
  }
})

test('touching gives the pieces of a range whole, and none beside it', () => {
  const map = new ExtentMap()
  const pieces = [0, 10, 20].map((offset) => ({ offset, length: 10, file: offset, fileOffset: 0 }))
  for (const piece of pieces) map.insert(piece)
  assert.deepEqual(map.touching(10, 10), [pieces[1]])
  assert.deepEqual(map.touching(9, 2), [pieces[0], pieces[1]])
  assert.deepEqual(map.touching(5, 20), pieces)
  assert.deepEqual(map.touching(30, 5), [])
})

test('an empty map has a gap everywhere', () => {
  const map = new ExtentMap()
  assert.equal(map.firstGap(3, 4), 3)
  map.insert({ offset: 0, length: 10, file: 0, fileOffset: 0 })
  assert.equal(map.firstGap(3, 4), undefined)
  map.clear()
  assert.equal(map.firstGap(3, 4), 3)
})

test('thirty thousand pieces in any order are taken, and found again', () => {
  const random = new Random(5)
  const map = new ExtentMap()
  const order = Array.from({ length: 30_000 }, (_, index) => index)
  for (let index = order.length - 1; index > 0; index -= 1) {
    const other = random.below(index + 1)
    ;[order[index], order[other]] = [order[other] as number, order[index] as number]
  }
  // Each page lies elsewhere in the file, so that no two join.
  for (const page of order) map.insert({ offset: page, length: 1, file: 0, fileOffset: 2 * page })
  assert.equal(map.firstGap(0, order.length), undefined)
  assert.deepEqual(map.touching(777, 1), [{ offset: 777, length: 1, file: 0, fileOffset: 1554 }])
  assert.equal(map.touching(0, order.length).length, order.length)
})
