import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cases } from './cases/all.js'
import { type FaceName, faces } from './face.js'
import { rows } from './rows.js'

const names = Object.keys(faces) as FaceName[]

test('every row of the semantics has a case on some face', () => {
  const covered = new Set<string>(cases.filter(({ on }) => on.length > 0).map(({ row }) => row))
  assert.deepEqual(
    Object.keys(rows).filter((row) => !covered.has(row)),
    [],
  )
})

test('every case is of a row that the semantics have, and on faces that there are', () => {
  for (const { row, name, on } of cases) {
    assert.ok(Object.hasOwn(rows, row), `${name} is of a row ${row}, which is not there`)
    for (const face of on) assert.ok(names.includes(face), `${name} is on a face ${face}, which is not there`)
  }
})

test('no two cases of one row have one name', () => {
  const all = cases.map(({ row, name }) => `${row}: ${name}`)
  assert.equal(new Set(all).size, all.length)
})

test('both languages have all rows but those that only one of them can express', () => {
  const missing = (face: FaceName) =>
    Object.keys(rows).filter((row) => !cases.some((found) => found.row === row && found.on.includes(face)))
  assert.deepEqual(missing('C'), ['revoked in JavaScript'])
  assert.deepEqual(missing('TypeScript'), ['munmap', 'fork view', 'owner execs', 'holder execs', 'fork owner'])
})
