import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { decode } from '../../src/wire/codec.js'
import { wireHeader } from '../../src/wire/header.js'
import { headerBytes, placeMessage, placeRow } from '../../src/wire/layout.js'
import { maxMessageBytes, messages, rows } from '../../src/wire/schema.js'

const widths = { u32: 4, u64: 8, size: 8 }

test('native/core/wire.h is what the schema generates', () => {
  const committed = readFileSync(new URL('../../../native/core/wire.h', import.meta.url), 'utf8')
  assert(committed === wireHeader(), 'it is not: run `npm run wire`')
})

test('every field lies at a multiple of its width, behind the field before it', () => {
  const places = [
    ...Object.entries(messages).map(([name, { fields }]) => ({ at: headerBytes, ...placeMessage(name, fields) })),
    ...Object.entries(rows).map(([name, fields]) => ({ at: 0, ...placeRow(name, fields) })),
  ]
  for (const { at, fields, bytes } of places) {
    let next = at
    for (const field of fields) {
      assert.equal(field.offset % widths[field.type], 0)
      assert.equal(field.offset, next)
      next += widths[field.type]
    }
    assert.equal(bytes, next)
    assert(bytes <= maxMessageBytes)
  }
})

test('rows of every kind follow each other aligned', () => {
  for (const [name, fields] of Object.entries(rows)) assert.equal(placeRow(name, fields).bytes % 8, 0)
})

test('no two messages have the same code', () => {
  const codes = Object.values(messages).map(({ code }) => code)
  assert.equal(new Set(codes).size, codes.length)
})

test('a schema with a field that would need padding is refused', () => {
  assert.throws(() => placeMessage('bad', { first: 'u32', second: 'u64' }), /bad\.second is not aligned/)
  assert.throws(() => placeRow('bad', { only: 'u32' }), /not a multiple of 8/)
})

test('the header is a code, two reserved bytes and a request number, in the byte order of the machine', () => {
  const bytes = new Uint8Array(headerBytes)
  const header = new Uint16Array(bytes.buffer)
  header[0] = messages.ping.code
  new Uint32Array(bytes.buffer)[1] = 0x01020304
  assert.deepEqual(decode(bytes, headerBytes), { name: 'ping', request: 0x01020304 })
})
