import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  checkId,
  formatId,
  isId,
  maxIncarnation,
  maxPartitionId,
  maxSequence,
  packId,
  parseId,
  unpackId,
} from '../../src/ids.js'
import { Random } from './random.js'

test('an identifier gives back the parts it was made of', () => {
  const random = new Random(1)
  const parts = Array.from({ length: 1_000 }, () => ({
    partition: random.below(maxPartitionId + 1),
    incarnation: random.below(maxIncarnation + 1),
    sequence: random.below(maxSequence + 1),
  }))
  parts.push({ partition: maxPartitionId, incarnation: maxIncarnation, sequence: maxSequence })
  parts.push({ partition: 0, incarnation: 0, sequence: 0 })
  for (const one of parts) assert.deepEqual(unpackId(packId(one)), one)
})

test('the greatest identifier is the greatest positive 64-bit integer', () => {
  const greatest = packId({ partition: maxPartitionId, incarnation: maxIncarnation, sequence: maxSequence })
  assert.equal(greatest, 2n ** 63n - 1n)
  assert(isId(greatest))
})

test('identifiers of one partition sort by incarnation, then by sequence', () => {
  const id = (incarnation: number, sequence: number) => packId({ partition: 3, incarnation, sequence })
  assert(id(1, maxSequence) < id(2, 1))
  assert(id(2, 1) < id(2, 2))
})

test('an identifier as text is 0x and 16 digits, and reads back', () => {
  for (const id of [1n, 0xabcn, 2n ** 63n - 1n]) {
    assert.match(formatId(id), /^0x[0-9a-f]{16}$/)
    assert.equal(parseId(formatId(id)), id)
  }
  assert.equal(parseId('0xABC'), 0xabcn)
})

test('text that is no hexadecimal identifier is not read as one', () => {
  for (const text of ['', '0x', '12', 'abc', '0xg', '0x1 ', ' 0x1', '-0x1', '0x00000000000000001', 'frames', '0x1\n']) {
    assert.equal(parseId(text), undefined, JSON.stringify(text))
  }
})

test('0, negative numbers, numbers past 63 bits and other types are EINVAL', () => {
  for (const id of [0n, -1n, -(2n ** 63n), 2n ** 63n, 2n ** 64n, 1, '0x1', undefined, null, {}]) {
    assert.throws(() => checkId(id, 'get', 'segid'), { code: 'EINVAL', call: 'get' })
  }
  assert.equal(checkId(5n, 'get', 'segid'), 5n)
})
