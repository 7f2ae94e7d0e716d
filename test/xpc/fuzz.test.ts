/** Random bytes and damaged messages between services, the same ones in every run as far as it gets. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { XpmemError } from '../../src/errors.js'
import { readPages, writePages } from '../../src/wire/pages-codec.js'
import { maxFrameBytes, xpcCodec, xpcMessages, xpcRows } from '../../src/wire/xpc-schema.js'
import type { XpcMessage, XpcName } from '../../src/xpc/connection.js'
import { FrameReader } from '../../src/xpc/frames.js'
import { residentBytes } from '../hostile/scene.js'
import { until } from '../support/until.js'
import { damaged, Random, randomMessageOf } from '../unit/random.js'
import { XpcScene } from './hostile-scene.js'
import { push } from './pushed.js'
import { framed, type RawPeer } from './raw-peer.js'

const seed = 20_260_107
const seconds = Number(process.env.XPMEM_FUZZ_SECONDS ?? 3)
const names = Object.keys(xpcMessages) as XpcName[]

function randomMessage(random: Random, name: XpcName): XpcMessage {
  return randomMessageOf(random, { messages: xpcMessages, rows: xpcRows }, name)
}

function encoded({ name, request, ...input }: XpcMessage): Uint8Array {
  return xpcCodec.encodeOwn(name, request, input)
}

/** The message that the bytes are; undefined where they are none, which must be EPROTO. */
function decoded(bytes: Uint8Array): XpcMessage | undefined {
  try {
    return xpcCodec.decode(bytes, bytes.length)
  } catch (error) {
    assert(error instanceof XpmemError && error.code === 'EPROTO', `${error} for ${Buffer.from(bytes).toString('hex')}`)
    return undefined
  }
}

for (const name of names) {
  test(`a ${name} between services comes out of the codec as it went in`, () => {
    const random = new Random(xpcMessages[name].code)
    for (let round = 0; round < 50; round += 1) {
      const message = randomMessage(random, name)
      const bytes = encoded(message)
      assert.deepEqual(xpcCodec.decode(bytes, bytes.length), message)
    }
  })
}

test('the codec of messages about pages writes and reads each of them as the schema says, and no other', () => {
  for (const name of names) {
    const random = new Random(xpcMessages[name].code)
    for (let round = 0; round < 50; round += 1) {
      const message = randomMessage(random, name)
      const body = encoded(message)
      const at = random.below(8)
      const bytes = new Uint8Array(at + body.length)
      bytes.set(body, at)
      const view = new DataView(bytes.buffer)
      const found = readPages(view, bytes, at, body.length)
      assert.equal(found !== undefined, 'first' in message, name)
      if (found === undefined) continue
      assert.deepEqual(found, { bytes: new Uint8Array(), ...message })
      const written = bytes.slice()
      writePages(new DataView(written.buffer), at, found.name, found)
      const same = { ...message, request: 0, reserved: 0 } as XpcMessage
      assert.deepEqual(written.slice(at), encoded(same))
    }
  }
})

test('the codec of messages about pages refuses one that is cut off, or longer than it may be', () => {
  for (const [name, length] of [
    ['read', 31],
    ['data', 31],
    ['grant', 33],
  ] as const) {
    const bytes = new Uint8Array(64)
    const view = new DataView(bytes.buffer)
    writePages(view, 0, name, { file: 1, cache: 2, first: 3, count: 4, way: 0 })
    assert.throws(() => readPages(view, bytes, 0, length), { code: 'EPROTO' })
  }
})

test('no two messages between services have the same code', () => {
  assert.equal(new Set(Object.values(xpcMessages).map(({ code }) => code)).size, names.length)
})

test('a message between services that is longer than a frame is EINVAL to its sender', () => {
  const buffer = new Uint8Array(2 * maxFrameBytes)
  assert.throws(() => xpcCodec.encode(buffer, 'find', 1, { text: 'x'.repeat(maxFrameBytes) }), { code: 'EINVAL' })
  const rows = Array.from({ length: maxFrameBytes / 8 }, () => ({ gid: 1, reserved: 0 }))
  assert.throws(() => xpcCodec.encode(buffer, 'get', 1, { rows }), { code: 'EINVAL' })
})

/** Frames of a stream, whole or damaged, cut into chunks at random. */
function chunksOf(random: Random, bodies: readonly Uint8Array[]): Uint8Array[] {
  const stream = Buffer.concat(bodies.map(framed))
  const chunks: Uint8Array[] = []
  for (let at = 0; at < stream.length; ) {
    const next = at + 1 + random.below(random.pick([4, 40, 400]))
    chunks.push(stream.subarray(at, next))
    at = next
  }
  return chunks
}

test(`whatever frames come in whatever chunks, each is one message exactly, or EPROTO (seed ${seed})`, (t) => {
  const random = new Random(seed)
  let tried = 0
  let taken = 0
  const end = performance.now() + seconds * 1_000
  while (performance.now() < end) {
    const bodies = Array.from({ length: 20 }, () => {
      const valid = encoded(randomMessage(random, random.pick(names)))
      return random.below(3) === 0 ? valid : damaged(random, valid)
    }).filter(({ length }) => length >= 8)
    const seen: Uint8Array[] = []
    const reader = new FrameReader()
    for (const chunk of chunksOf(random, bodies)) {
      push(reader, chunk, (frame) => seen.push(frame.slice()))
    }
    assert.deepEqual(
      seen.map((one) => Buffer.from(one)),
      bodies.map((one) => Buffer.from(one)),
    )
    for (const body of seen) {
      const message = decoded(body)
      if (message === undefined) continue
      taken += 1
      assert(Buffer.compare(encoded(message), body) === 0, `not the same again: ${Buffer.from(body).toString('hex')}`)
    }
    tried += bodies.length
  }
  const said = `${tried} frames in ${seconds} s with seed ${seed}, ${taken} of them messages`
  t.diagnostic(said)
  console.log(`fuzz: ${said}`)
  assert(taken > 0 && taken < tried)
})

/** A frame, or what looks like one; seldom with a length that is not its own. */
function hostileBytes(random: Random): Uint8Array {
  // Half of them are requests, so that many a link lives for longer than one input.
  const asked: XpcName[] = ['find', 'get', 'release', 'revoke', 'ping', 'got', 'done']
  const valid = encoded(randomMessage(random, random.pick(random.below(2) === 0 ? asked : names)))
  const bytes = framed(random.below(3) === 0 ? valid : damaged(random, valid))
  if (random.below(500) === 0) bytes.set(random.bytes(2), 0)
  return bytes
}

test('a service that is sent damaged frames goes on', async (t) => {
  const scene = await XpcScene.start(t)
  const inputs = 2_000
  await scene.case(t, `${inputs} inputs over connections of strangers and peers (seed ${seed})`, async (end) => {
    const random = new Random(seed)
    const before = residentBytes(scene.home.service.pid)
    const openNext = (): Promise<RawPeer> => (random.below(4) === 0 ? scene.stranger(end) : scene.evil(end))
    let peer = await openNext()
    for (let tried = 0; tried < inputs; tried += 1) {
      const current = peer
      const bytes = hostileBytes(random)
      await new Promise<void>((resolve) => current.socket.write(bytes, () => resolve()))
      current.received.length = 0
      if (random.below(4) === 0) {
        // It has read what came before: it answers, or has closed.
        current.send('ping', 4, {})
        await until(() => current.ended || current.words.length > 0 || !current.socket.writable)
      }
      if (current.ended || !current.socket.writable || random.below(50) === 0) {
        current.close()
        peer = await openNext()
      }
      if (tried % 500 === 0) await scene.checkGood()
    }
    assert(residentBytes(scene.home.service.pid) - before < 128 * 2 ** 20)
  })
})
