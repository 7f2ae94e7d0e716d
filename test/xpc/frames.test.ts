import assert from 'node:assert/strict'
import { test } from 'node:test'
import { headerBytes } from '../../src/wire/layout.js'
import { frameHeaderBytes, maxFrameBytes } from '../../src/wire/xpc-schema.js'
import { FrameReader } from '../../src/xpc/frames.js'
import { Random } from '../unit/random.js'
import { push } from './pushed.js'

function frame(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(frameHeaderBytes + length)
  new DataView(bytes.buffer).setUint32(0, length, true)
  for (let at = frameHeaderBytes; at < bytes.length; at += 1) bytes[at] = (at * 31 + seed) & 0xff
  return bytes
}

/** What a reader makes of the chunks. */
function read(chunks: readonly Uint8Array[], reader = new FrameReader()): Uint8Array[] {
  const frames: Uint8Array[] = []
  for (const chunk of chunks) {
    push(reader, chunk, (bytes) => frames.push(bytes.slice()))
  }
  return frames
}

function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...places, bytes.length]
  return ends.map((end, index) => bytes.slice(index === 0 ? 0 : ends[index - 1], end))
}

const joined = (parts: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(parts))
const bodies = (frames: readonly Uint8Array[]) => frames.map((one) => one.subarray(frameHeaderBytes))

test('two frames cut at any two places come out whole', () => {
  const frames = [frame(headerBytes, 1), frame(13, 2)]
  const stream = joined(frames)
  for (let first = 0; first <= stream.length; first += 1) {
    for (let second = first; second <= stream.length; second += 1) {
      assert.deepEqual(read(cut(stream, [first, second])), bodies(frames), `cut at ${first} and ${second}`)
    }
  }
})

test('frames that come byte by byte come out whole', () => {
  const frames = [frame(9, 1), frame(headerBytes, 2), frame(200, 3)]
  assert.deepEqual(read([...joined(frames)].map((byte) => Uint8Array.of(byte))), bodies(frames))
})

test('frames of every size, the largest among them, come out of any cutting', () => {
  const random = new Random(7)
  for (let round = 0; round < 20; round += 1) {
    const lengths = Array.from({ length: 1 + random.below(5) }, () =>
      random.pick([headerBytes, headerBytes + random.below(100), random.below(70_000) + headerBytes, maxFrameBytes]),
    )
    const frames = lengths.map(frame)
    const stream = joined(frames)
    const places = Array.from({ length: random.below(8) }, () => random.below(stream.length)).sort((a, b) => a - b)
    const found = read(cut(stream, places))
    assert.equal(found.length, frames.length)
    for (const [index, body] of bodies(frames).entries()) {
      assert(Buffer.compare(found[index] as Uint8Array, body) === 0, `frame ${index} of ${lengths} cut at ${places}`)
    }
  }
})

test('what a reader keeps is not much more than the largest frame, however much comes', () => {
  const reader = new FrameReader()
  const large = frame(maxFrameBytes, 4)
  for (let round = 0; round < 20; round += 1) {
    read(cut(large, [round, 1_000 + round, 500_000]), reader)
    read([frame(20, round)], reader)
  }
  assert(reader.room().bytes.length < 1.5 * maxFrameBytes)
})

for (const length of [0, 1, headerBytes - 1, maxFrameBytes + 1, 0x7fff_ffff, 0xffff_ffff]) {
  test(`a frame that says it is ${length} bytes long is EPROTO in one piece and in pieces`, () => {
    const bytes = new Uint8Array(64)
    new DataView(bytes.buffer).setUint32(0, length, true)
    for (const places of [[], [1], [frameHeaderBytes], [1, 2, 3, 4]]) {
      assert.throws(() => read(cut(bytes, places)), { code: 'EPROTO', message: /no message is \d+ bytes long/ })
    }
  })
}

test('what comes behind a frame after which no more is wanted is not read', () => {
  for (const places of [[], [5]]) {
    const taken: number[] = []
    const reader = new FrameReader()
    const garbage = new Uint8Array(16).fill(0xff)
    for (const chunk of cut(joined([frame(8, 1), garbage]), places)) {
      push(reader, chunk, (bytes) => {
        taken.push(bytes.length)
        return false
      })
    }
    assert.deepEqual(taken, [8])
  }
})
