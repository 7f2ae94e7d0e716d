import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ReadAhead } from '../../src/coherence/read-ahead.js'
import { Random } from '../unit/random.js'

/** Reads pages one after the other and faults where none were asked for; tells what was asked for each time. */
function walk(ahead: ReadAhead, from: number, faults: number): number[] {
  let page = from
  return Array.from({ length: faults }, () => {
    const more = ahead.next(page)
    page += 1 + more
    return more
  })
}

test('sequential faults are given twice as much each time, to 256 pages', () => {
  assert.deepEqual(walk(new ReadAhead(), 1000, 11), [0, 1, 3, 7, 15, 31, 63, 127, 255, 255, 255])
})

test('random faults are given nothing', () => {
  const ahead = new ReadAhead()
  const random = new Random(7)
  for (let fault = 0; fault < 1000; fault += 1) assert.equal(ahead.next(random.below(2 ** 30)), 0)
})

test('faults backwards are given nothing', () => {
  const ahead = new ReadAhead()
  for (let page = 100; page > 0; page -= 1) assert.equal(ahead.next(page), 0)
})

test('four streams that are interleaved are each given more and more', () => {
  const ahead = new ReadAhead()
  const pages = [0, 1e6, 2e6, 3e6]
  for (const size of [1, 2, 4, 8, 16]) {
    pages.forEach((page, index) => {
      assert.equal(ahead.next(page), size - 1)
      pages[index] = page + size
    })
  }
})

test('a stream that stopped is forgotten when four others have begun', () => {
  const ahead = new ReadAhead()
  walk(ahead, 0, 3)
  for (const page of [1e6, 2e6, 3e6, 4e6]) ahead.next(page)
  assert.equal(ahead.next(7), 0)
})

test('a stream goes on when a few faults elsewhere come between', () => {
  const ahead = new ReadAhead()
  walk(ahead, 0, 3)
  for (const page of [1e6, 2e6, 3e6]) ahead.next(page)
  assert.equal(ahead.next(7), 7)
})

test('a fault at the first of the pages that were asked for last, or before it, asks for no more', () => {
  const ahead = new ReadAhead()
  // Up to page 14, the last eight of them at once.
  walk(ahead, 0, 4)
  assert.equal(ahead.next(7), 14 - 7)
  assert.equal(ahead.next(4), 14 - 4)
})

test('a page that faults again and again is given nothing', () => {
  const ahead = new ReadAhead()
  for (let fault = 0; fault < 10; fault += 1) assert.equal(ahead.next(5), 0)
})

test('a fault among the pages that were asked for last asks for twice as many behind them', () => {
  const ahead = new ReadAhead()
  walk(ahead, 0, 4)
  assert.equal(ahead.next(8), 30 - 8)
})

test('a stream that faults in the middle of what is on its way has between 128 and 512 pages ahead of it', () => {
  const ahead = new ReadAhead()
  walk(ahead, 0, 9)
  let page = 511
  for (let turn = 0; turn < 20; turn += 1) {
    const more = ahead.next(page)
    assert(more >= 127 && more < 512, `${more} pages`)
    page += 128
  }
})
