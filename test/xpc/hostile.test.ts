import assert from 'node:assert/strict'
import { test } from 'node:test'
import { packId } from '../../src/ids.js'
import { access, reason } from '../../src/wire/schema.js'
import { maxFrameBytes, maxGroupsTold, xpcCodec, xpcVersion } from '../../src/wire/xpc-schema.js'
import type { XpcMessage } from '../../src/xpc/connection.js'
import { descriptorCount, residentBytes } from '../hostile/scene.js'
import { until } from '../support/until.js'
import { Random } from '../unit/random.js'
import { XpcScene } from './hostile-scene.js'
import { type Got, make, partitionOf, permitsOn, untilPartition, untilPermits } from './pair.js'
import { framed, frameOf, type RawPeer } from './raw-peer.js'

const mebibyte = 2 ** 20

function lengthPrefix(length: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, length, true)
  return bytes
}

test('a client that says something else than a hello first is refused, and only it', async (t) => {
  const scene = await XpcScene.start(t)
  const openings: Record<string, { bytes: Uint8Array; refusal: RegExp }> = {
    'the request of another protocol': {
      bytes: Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
      refusal: /no message is \d+ bytes long/,
    },
    'a frame of no bytes': { bytes: new Uint8Array(16), refusal: /no message is 0 bytes long/ },
    'a frame larger than any': {
      bytes: Buffer.concat([lengthPrefix(maxFrameBytes + 1), new Uint8Array(1)]),
      refusal: /no message is \d+ bytes long/,
    },
    'noise in a frame': { bytes: framed(new Random(1).bytes(64)), refusal: /no message has the code/ },
    'a ping': { bytes: frameOf('ping', 1, {}), refusal: /the first message must be a hello/ },
    'a get': { bytes: frameOf('get', 1, { segid: scene.open.segid }), refusal: /the first message must be a hello/ },
    'a hello that is cut off': {
      bytes: framed(xpcCodec.encodeOwn('hello', 1, {}).subarray(0, 20)),
      refusal: /hello is cut off/,
    },
    'a hello whose name is not UTF-8': {
      bytes: framed(
        Buffer.concat([xpcCodec.encodeOwn('hello', 0, { version: xpcVersion, partition: 3 }), Buffer.of(0xff)]),
      ),
      refusal: /not UTF-8/,
    },
    'a hello with a name as long as a frame': {
      bytes: frameOf('hello', 0, { version: xpcVersion, partition: 3, incarnation: 1, text: 'x'.repeat(mebibyte) }),
      refusal: /^'x{64}' is not in the directory/,
    },
  }
  for (const [what, { bytes, refusal }] of Object.entries(openings)) {
    await scene.case(t, what, async (end) => {
      const stranger = await scene.stranger(end)
      stranger.socket.write(bytes)
      assert.match(await stranger.refusal(), refusal)
    })
  }

  await scene.case(t, 'half a hello, and then silence', async (end) => {
    const stranger = await scene.stranger(end)
    stranger.socket.write(
      frameOf('hello', 0, { version: xpcVersion, partition: 3, incarnation: 1, text: 'evil' }).subarray(0, 9),
    )
    assert.match(await stranger.refusal(), /no hello came/)
  })

  await scene.case(t, '1,000 connections that say nothing', async (end) => {
    const rest = descriptorCount(scene.home.service.pid)
    for (let batch = 0; batch < 10; batch += 1) {
      const silent = await Promise.all(Array.from({ length: 100 }, () => scene.stranger(end)))
      assert(descriptorCount(scene.home.service.pid) < rest + 100)
      await scene.checkGood()
      if (batch < 9) for (const one of silent) one.close()
    }
    // A peer is let in all the same.
    await scene.evil(end)
  })
})

test('a peer that breaks the protocol is cut off, and only it', async (t) => {
  const scene = await XpcScene.start(t)
  const { segid } = scene.open
  const breaches: Record<string, { say: (evil: RawPeer) => void; refusal: RegExp }> = {
    'a second hello': { say: (evil) => evil.sayHello('evil', 3), refusal: /a partition does not send this/ },
    'a length that no message has': {
      say: (evil) => evil.socket.write(Buffer.concat([lengthPrefix(7), new Uint8Array(8)])),
      refusal: /no message is 7 bytes long/,
    },
    'a message longer than it is': {
      say: (evil) => evil.socket.write(framed(Buffer.concat([xpcCodec.encodeOwn('ping', 1, {}), Buffer.of(0)]))),
      refusal: /ping is 9 bytes long instead of 8/,
    },
    'a get with half a group': {
      say: (evil) =>
        evil.socket.write(framed(Buffer.concat([xpcCodec.encodeOwn('get', 1, { segid }), new Uint8Array(4)]))),
      refusal: /rows of get are cut off/,
    },
    'more groups than there can be': {
      say: (evil) => {
        const rows = Array.from({ length: maxGroupsTold + 1 }, () => ({ gid: 1, reserved: 0 }))
        evil.send('get', 1, { segid, access: access.read, rows })
      },
      refusal: /more groups than there can be/,
    },
    'a revoke of a segment of this partition': {
      say: (evil) => evil.send('revoke', 1, { segid, reason: reason.removed }),
      refusal: /not of that partition/,
    },
    'reserved bytes that are not zero': {
      say: (evil) => {
        const bytes = xpcCodec.encodeOwn('ping', 1, {})
        bytes[2] = 1
        evil.socket.write(framed(bytes))
      },
      refusal: /reserved bytes/,
    },
  }
  for (const [what, { say, refusal }] of Object.entries(breaches)) {
    await scene.case(t, what, async (end) => {
      const evil = await scene.evil(end)
      say(evil)
      assert.match(await evil.refusal(), refusal)
      const { reason: told } = await untilPartition(scene.actor, 'evil', ({ state }) => state === 'inactive')
      assert.match(told, refusal)
    })
  }

  await scene.case(t, "a release of another partition's permit", async (end) => {
    const { actor } = scene.good
    const got = await actor.call<Got>('get', segid, 'read')
    await untilPermits(scene.actor, segid, 1)
    const evil = await scene.evil(end)
    evil.send('get', 1, { segid, access: access.read })
    const { apid } = await evil.take('got')
    // Numbers are given in order: the one before is somebody else's.
    evil.send('release', 0, { apid: apid - 1n })
    assert.match(await evil.refusal(), /belongs to another process/)
    await untilPermits(scene.actor, segid, 1)
    await actor.call('release', got.handle)
  })

  await scene.case(t, 'a revoke of a segment of the other partition', async (end) => {
    const made = await make(scene.good.actor, { mode: 0o606 })
    const got = await scene.actor.call<Got>('get', made.segid, 'read')
    const evil = await scene.evil(end)
    evil.send('revoke', 1, { segid: made.segid, reason: reason.removed })
    assert.match(await evil.refusal(), /not of that partition/)
    assert.equal(await permitsOn(scene.good.actor, made.segid), 1)
    await scene.actor.call('release', got.handle)
    await untilPermits(scene.good.actor, made.segid, 0)
    await scene.good.actor.call('remove', made.handle)
  })

  await scene.case(t, 'half a frame, and then silence', async (end) => {
    const evil = await scene.evil(end)
    evil.onPing = () => {}
    evil.socket.write(frameOf('find', 1, { text: 'numbers' }).subarray(0, 10))
    assert.match(await evil.refusal(), /nothing was heard of it/)
  })

  await scene.case(t, 'a last word as long as a frame', async (end) => {
    const evil = await scene.evil(end)
    evil.send('refuse', 0, { errno: 0xffff_ffff, text: '\u001b'.repeat(mebibyte) })
    const { reason: told } = await untilPartition(scene.actor, 'evil', ({ state }) => state === 'inactive')
    assert.match(told, /^the other service refused: \?{300}$/)
  })
})

test('a peer that asks for what there is not, or too much, is answered and harms nobody', async (t) => {
  const scene = await XpcScene.start(t)
  const { segid } = scene.open

  await scene.case(t, 'what no identifier or access is', async (end) => {
    const evil = await scene.evil(end)
    const wrong = [
      { segid: 0n, access: access.read },
      { segid: 1n << 63n, access: access.read },
      { segid: (1n << 64n) - 1n, access: access.read },
      { segid, access: 0 },
      { segid, access: 0xffff_ffff },
      { segid: packId({ partition: 3, incarnation: 1, sequence: 1 }), access: access.read },
    ]
    for (const [index, input] of wrong.entries()) {
      evil.send('get', index, { ...input, flags: 0xffff_ffff, uid: 0xffff_ffff })
      assert.equal((await evil.take('failure')).request, index)
    }
    evil.send('find', 9, { text: `${'x'.repeat(mebibyte)}` })
    assert((await evil.take('failure')).text.length <= 1_000)
    evil.send('release', 0, { apid: 12_345n })
    evil.send('ping', 10, {})
    await evil.take('pong')
  })

  await scene.case(t, 'answers that nobody asked for', async (end) => {
    const evil = await scene.evil(end)
    for (let request = 0; request < 50; request += 1) {
      evil.send('done', request, {})
      evil.send('found', request, { segid })
      evil.send('failure', request, { errno: request, text: 'x' })
    }
    evil.send('ping', 1, {})
    await evil.take('pong')
  })

  await scene.case(t, '10,000 gets without reading an answer', async (end) => {
    const evil = await scene.evil(end)
    const before = residentBytes(scene.home.service.pid)
    evil.socket.pause()
    for (let request = 0; request < 10_000; request += 1) evil.send('get', request, { segid, access: access.read })
    await untilPermits(scene.actor, segid, 10_000)
    await scene.checkGood()
    assert(residentBytes(scene.home.service.pid) - before < 128 * mebibyte)
    evil.close()
  })

  await scene.case(t, 'a slow reader, that gets every answer in order in the end', async (end) => {
    const evil = await scene.evil(end)
    const before = residentBytes(scene.home.service.pid)
    const { bytesOut } = await partitionOf(scene.actor, 'evil')
    evil.socket.pause()
    const count = 20_000
    const text = 'x'.repeat(900)
    for (let request = 0; request < count; request += 1) evil.send('find', request, { text })
    // More than is let wait has been answered, so that the service reads slowly from now on.
    await untilPartition(scene.actor, 'evil', (info) => info.bytesOut - bytesOut > 4 * mebibyte)
    await scene.checkGood()
    assert(residentBytes(scene.home.service.pid) - before < 128 * mebibyte)
    evil.socket.resume()
    await until(() => evil.received.length >= count || evil.ended)
    const answers = evil.received.filter((one): one is XpcMessage<'failure'> => one.name === 'failure')
    assert.deepEqual(
      answers.map(({ request }) => request),
      Array.from({ length: count }, (_, index) => index),
    )
  })
})
