import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Closings } from '../../src/service/closings.js'

const begun = (closings: Closings<string>) => {
  const all = []
  for (let next = closings.next(); next !== undefined; next = closings.next()) all.push(next)
  return all
}

test('closes begin up to the limits, and further ones when others have ended', () => {
  const closings = new Closings<string>({ atOnce: 3, atOncePerOwner: 2 })
  for (const descriptor of [10, 11, 12]) closings.add('a', descriptor)
  const first = begun(closings)
  assert.equal(first.length, 2)
  assert.deepEqual([closings.waiting, closings.of('a')], [1, 3])
  closings.ended(first[0]?.number as number)
  assert.equal(begun(closings).length, 1)
  assert.deepEqual([closings.waiting, closings.of('a')], [0, 2])
})

test('one whose closes never end does not keep those of others from beginning', () => {
  const closings = new Closings<string>({ atOnce: 3, atOncePerOwner: 2 })
  for (const descriptor of [10, 11, 12, 13]) closings.add('a', descriptor)
  begun(closings)
  closings.add('b', 20)
  assert.deepEqual(
    begun(closings).map(({ descriptor }) => descriptor),
    [20],
  )
  closings.add('b', 21)
  assert.deepEqual(begun(closings), [], 'there are as many as there may be')
})

test('every descriptor begins once, also one that could not begin at first', () => {
  const closings = new Closings<string>({ atOnce: 2, atOncePerOwner: 2 })
  for (const descriptor of [10, 11, 12]) closings.add('a', descriptor)
  const seen: number[] = []
  const postponed = closings.next()
  assert(postponed)
  closings.postpone(postponed)
  assert.deepEqual([closings.waiting, closings.of('a')], [3, 3])
  for (let next = closings.next(); next !== undefined; next = closings.next()) {
    seen.push(next.descriptor)
    closings.ended(next.number)
  }
  assert.deepEqual(seen.sort(), [10, 11, 12])
  assert.deepEqual([closings.waiting, closings.of('a')], [0, 0])
})

test('an end that is told twice, or of what never began, counts once', () => {
  const closings = new Closings<string>({ atOnce: 1, atOncePerOwner: 1 })
  closings.add('a', 10)
  const one = closings.next()
  assert(one)
  closings.ended(one.number)
  closings.ended(one.number)
  closings.ended(one.number + 1)
  closings.add('a', 11)
  assert.equal(begun(closings).length, 1)
  closings.add('a', 12)
  assert.equal(closings.next(), undefined)
})
