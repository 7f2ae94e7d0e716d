import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { maxIncarnation, unpackId } from '../../src/ids.js'
import { IdSource } from '../../src/service/identity.js'
import { Random } from './random.js'
import { scratch } from './scratch.js'

const minute = 60_000
const start = Date.UTC(2027, 0, 1)
const at = (ms: number) => () => ms

test('identifiers are positive, of their partition, and count upwards', (t) => {
  const ids = new IdSource(join(scratch(t), 'i'), 7, at(start))
  const given = Array.from({ length: 100 }, () => ids.next())
  given.forEach((id, index) => {
    assert.deepEqual(unpackId(id), { partition: 7, incarnation: ids.incarnation, sequence: index + 1 })
  })
})

test('no restart gives an incarnation again, whatever the clock says', (t) => {
  const path = join(scratch(t), 'i')
  const random = new Random(3)
  let now = start
  let last = 0
  for (let restart = 0; restart < 300; restart += 1) {
    // The clock stands still, goes on, jumps ahead and goes back, before its epoch too.
    now = random.pick([
      now,
      now + minute,
      now + random.below(1_000) * minute,
      now - random.below(2_000_000) * minute,
      0,
    ])
    const ids = new IdSource(path, 1, at(now))
    assert(ids.incarnation > last, `${ids.incarnation} after ${last}`)
    last = ids.incarnation
    if (random.below(2) === 0) ids.leaveIdle()
  }
})

test('an incarnation is written down before an identifier of it is given', (t) => {
  const path = join(scratch(t), 'i')
  const ids = new IdSource(path, 1, at(start))
  assert.equal(Number(readFileSync(path, 'utf8')), ids.incarnation)
})

test('the file is for its user only, and no other file stays beside it', (t) => {
  const directory = scratch(t)
  new IdSource(join(directory, 'i'), 1, at(start)).leaveIdle()
  assert.deepEqual(readdirSync(directory), ['i'])
  assert.equal(statSync(join(directory, 'i')).mode & 0o777, 0o600)
})

test('a wiped directory does not begin again where it began before', (t) => {
  const earlier = new IdSource(join(scratch(t), 'i'), 1, at(start))
  const later = new IdSource(join(scratch(t), 'i'), 1, at(start + minute))
  assert(later.incarnation > earlier.incarnation)
})

test('a clock before the epoch still gives a positive incarnation', (t) => {
  assert.equal(new IdSource(join(scratch(t), 'i'), 1, at(0)).incarnation, 1)
})

for (const text of ['', '\n', 'abc', '-5', '0', '1.5', '1e99', 'NaN', '99999999999999999999', '\0\0\0', '{}']) {
  test(`a file that says ${JSON.stringify(text)} counts as lost, and as one with survivors`, (t) => {
    const path = join(scratch(t), 'i')
    writeFileSync(path, text)
    const ids = new IdSource(path, 1, at(start))
    const fresh = new IdSource(join(scratch(t), 'i'), 1, at(start))
    assert.equal(ids.incarnation, fresh.incarnation)
    assert(ids.hasSurvivors)
    assert.equal(Number(readFileSync(path, 'utf8')), ids.incarnation)
  })
}

test('a file that cannot be read is an error, not a new beginning', (t) => {
  assert.throws(() => new IdSource(scratch(t), 1, at(start)), { code: 'EISDIR' })
})

test('only a service that left idle, or never was, has no survivors', (t) => {
  const path = join(scratch(t), 'i')
  const first = new IdSource(path, 1, at(start))
  assert(!first.hasSurvivors)
  const second = new IdSource(path, 1, at(start))
  assert(second.hasSurvivors, 'the first did not say that it left idle')
  second.leaveIdle()
  const third = new IdSource(path, 1, at(start))
  assert(!third.hasSurvivors)
  assert(new IdSource(path, 1, at(start)).hasSurvivors, 'the marker is for one successor')
})

test('when the incarnations have run out the service says so instead of beginning again', (t) => {
  const path = join(scratch(t), 'i')
  writeFileSync(path, `${maxIncarnation - 1}`)
  assert.equal(new IdSource(path, 1, at(start)).incarnation, maxIncarnation)
  assert.throws(() => new IdSource(path, 1, at(start)), { code: 'EAGAIN' })
})
