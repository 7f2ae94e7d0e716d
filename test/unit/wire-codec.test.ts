import assert from 'node:assert/strict'
import { test } from 'node:test'
import { XpmemError } from '../../src/errors.js'
import { decode, encode, encodeOwn, encodeRowsOwn, type Row } from '../../src/wire/codec.js'
import { headerBytes } from '../../src/wire/layout.js'
import { maxMessageBytes, messages } from '../../src/wire/schema.js'
import { inputOf, messageNames, Random, randomMessage } from './random.js'

/** The message that `decode` refuses the bytes with. */
function refusal(bytes: Uint8Array, length = bytes.length): string {
  try {
    decode(bytes, length)
  } catch (error) {
    assert(error instanceof XpmemError)
    assert.equal(error.code, 'EPROTO')
    return error.message
  }
  throw new assert.AssertionError({ message: 'the bytes were taken for a message' })
}

for (const name of messageNames) {
  test(`a ${name} comes out of the codec as it went in`, () => {
    const random = new Random(messages[name].code)
    for (let round = 0; round < 200; round += 1) {
      const message = randomMessage(random, name)
      const bytes = encodeOwn(name, message.request, inputOf(message))
      assert.deepEqual(decode(bytes, bytes.length), message)
    }
  })

  test(`a ${name} cut off anywhere is either refused or says the same in fewer rows or letters`, () => {
    const message = randomMessage(new Random(7), name)
    const bytes = encodeOwn(name, message.request, inputOf(message))
    const { tail } = messages[name]
    const fixed = encodeOwn(name, 0, {}).length
    for (let length = 0; length < bytes.length; length += 1) {
      if (length < fixed || tail === 'none') refusal(bytes, length)
    }
    if (tail === 'none') refusal(Uint8Array.of(...bytes, 0))
  })
}

test('fields that are left out are 0, and tails empty', () => {
  const bytes = encodeOwn('make', 5, {})
  const { name, request, text, ...numbers } = decode(bytes, bytes.length) as unknown as Record<string, unknown>
  assert.deepEqual([name, request, text], ['make', 5, ''])
  for (const value of Object.values(numbers)) assert(value === 0 || value === 0n)
  const extents = encodeOwn('extents', 0, {})
  assert.deepEqual(decode(extents, extents.length), { name: 'extents', request: 0, rows: [] })
})

test('a datagram shorter than a header is refused', () => {
  for (let length = 0; length < headerBytes; length += 1) {
    assert.match(refusal(new Uint8Array(64), length), /has no header/)
  }
})

test('every code that no message has is refused', () => {
  const known = new Set<number>(Object.values(messages).map(({ code }) => code))
  const bytes = new Uint8Array(128)
  for (let code = 0; code <= 0xffff; code += 1) {
    new DataView(bytes.buffer).setUint16(0, code, true)
    if (!known.has(code)) assert.match(refusal(bytes), /no message has the code/)
  }
})

test('reserved bytes of the header that are not zero are refused', () => {
  for (const at of [2, 3]) {
    const bytes = encodeOwn('ping', 1, {})
    bytes[at] = 1
    assert.match(refusal(bytes), /reserved/)
  }
})

test('text that is not UTF-8 is refused', () => {
  for (const bad of [[0xff], [0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]]) {
    assert.match(refusal(Uint8Array.of(...encodeOwn('get', 1, {}), ...bad)), /not UTF-8/)
  }
})

test('rows that do not fill the datagram are refused', () => {
  const bytes = encodeOwn('extents', 1, { rows: [{ offset: 0, length: 1, fileOffset: 2, descriptor: 3, flags: 4 }] })
  for (let cut = 1; cut < 32; cut += 1) assert.match(refusal(bytes, bytes.length - cut), /rows of extents are cut off/)
})

test('a size of 2^53 or more is refused in a field and in a row', () => {
  const attach = encodeOwn('attach', 1, { offset: Number.MAX_SAFE_INTEGER })
  const { offset } = decode(attach, attach.length) as { offset?: number }
  assert.equal(offset, Number.MAX_SAFE_INTEGER)
  for (const [bytes, at] of [
    [attach, 16],
    [encodeOwn('extents', 1, { rows: [{} as Row<'extent'>] }), 8],
  ] as const) {
    for (const size of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
      new DataView(bytes.buffer).setBigUint64(at, size, true)
      assert.match(refusal(bytes), /larger than any memory/)
    }
  }
})

test('a text or rows that do not fit one datagram are EINVAL to their sender', () => {
  const buffer = new Uint8Array(2 * maxMessageBytes)
  const room = maxMessageBytes - encodeOwn('get', 0, {}).length
  assert.equal(encode(buffer, 'get', 1, { text: 'x'.repeat(room) }), maxMessageBytes)
  assert.throws(() => encode(buffer, 'get', 1, { text: 'x'.repeat(room + 1) }), { code: 'EINVAL' })
  assert.throws(() => encode(buffer, 'get', 1, { text: `${'x'.repeat(room - 1)}ä` }), { code: 'EINVAL' })
  const row = { segid: 1n, ownerStart: 2n, ownerPid: 3, reserved: 0 }
  const fitting = Math.floor((maxMessageBytes - headerBytes) / 24)
  assert(encode(buffer, 'held', 1, { rows: Array(fitting).fill(row) }) <= maxMessageBytes)
  assert.throws(() => encode(buffer, 'held', 1, { rows: Array(fitting + 1).fill(row) }), { code: 'EINVAL' })
})

test('rows alone have the layout they have in a message', () => {
  const list = [
    { offset: 4096, length: 8192, fileOffset: 0, descriptor: 1, flags: 0 },
    { offset: 0, length: 4096, fileOffset: 2 ** 40, descriptor: 0, flags: 9 },
  ]
  const alone = encodeRowsOwn('extent', list)
  assert.deepEqual(alone, encodeOwn('extents', 0, { rows: list }).slice(headerBytes))
})

test('what lies in the buffer behind a message does not count', () => {
  const buffer = new Uint8Array(maxMessageBytes).fill(0xff)
  const length = encode(buffer, 'get', 9, { segid: 1n, access: 2, reserved: 0, text: 'name' })
  assert.deepEqual(decode(buffer, length), { name: 'get', request: 9, segid: 1n, access: 2, reserved: 0, text: 'name' })
})
