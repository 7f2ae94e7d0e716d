/** A peer that gives wrong answers, or gives them to nobody: what the partition that asked makes of it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { packId } from '../../src/ids.js'
import { access, reason } from '../../src/wire/schema.js'
import { xpcVersion } from '../../src/wire/xpc-schema.js'
import { type Actor, startActor } from '../support/actor.js'
import { RawClient } from '../support/raw.js'
import { make, partitionOf, startSide, untilPartition } from './pair.js'
import { listener, ownAddress, RawPeer } from './raw-peer.js'

const segid = packId({ partition: 1, incarnation: 1, sequence: 1 })
const foreign = packId({ partition: 9, incarnation: 1, sequence: 1 })
const right = { apid: 5n, segid, length: 8_192, dataLength: 8_192, access: access.read }

interface Far {
  readonly home: RawPeer
  readonly actor: Actor
  readonly runtimeDir: string
  readonly socketPath: string
}

/** Partition `far`, number 2, connected to a `home` that is the test itself. */
async function startFar(t: TestContext): Promise<Far> {
  const address = ownAddress()
  const { server } = await listener(t, address)
  const connected = once(server, 'connection')
  const { actor, service } = await startSide(t, { name: 'far', id: 2, peers: { home: address } })
  const [socket] = (await connected) as [Socket]
  const home = new RawPeer(socket)
  await home.take('hello')
  home.send('hello', 0, { version: xpcVersion, partition: 1, incarnation: 1, text: 'home' })
  await untilPartition(actor, 'home', ({ state }) => state === 'active')
  return { home, actor, runtimeDir: service.runtimeDir, socketPath: service.socket }
}

async function answerGet(home: RawPeer, input: object): Promise<void> {
  home.send('got', (await home.take('get')).request, { ...right, ...input })
}

const badPermits: Record<string, object> = {
  'of another segment': { segid: segid + 1n },
  'of another access': { access: access.readwrite },
  'of a segment without a byte': { length: 0, dataLength: 0 },
  'of a segment that is no whole pages': { length: 5_000, dataLength: 5_000 },
  'of more data than memory': { dataLength: 8_193 },
}

for (const [what, input] of Object.entries(badPermits)) {
  test(`a permit ${what} is EPROTO to who asked, given back, and ends the link`, async (t) => {
    const { home, actor } = await startFar(t)
    const asked = assert.rejects(actor.call('get', segid, 'read'), { code: 'EPROTO' })
    await answerGet(home, input)
    await asked
    assert.equal((await home.take('release')).apid, 5n)
    assert.notEqual(await home.refusal(), '')
  })
}

test('a name that stands for a segment of a third partition is EPROTO to who asked, and ends the link', async (t) => {
  const { home, actor } = await startFar(t)
  const asked = assert.rejects(actor.call('get', 'home/x', 'read'), { code: 'EPROTO' })
  home.send('found', (await home.take('find')).request, { segid: foreign })
  await answerGet(home, { segid: foreign })
  await asked
  assert.match(await home.refusal(), /no segid of the partition/)
})

test('answers of another kind are EPROTO to who asked, and end the link', async (t) => {
  const { home, actor } = await startFar(t)
  const asked = assert.rejects(actor.call('get', 'home/x', 'read'), { code: 'EPROTO' })
  home.send('got', (await home.take('find')).request, right)
  await asked
  assert.match(await home.refusal(), /answered a find with got/)
})

test('a refusal is told to who asked as it is, and the link goes on', async (t) => {
  const { home, actor } = await startFar(t)
  const asked = assert.rejects(actor.call('get', segid, 'read'), { code: 'EPROTO', message: /no such luck/ })
  home.send('failure', (await home.take('get')).request, { errno: 71, text: 'no such luck' })
  await asked
  assert.equal((await partitionOf(actor, 'home')).state, 'active')
})

test('answers that nobody asked for change nothing; a permit among them is given back', async (t) => {
  const { home, actor } = await startFar(t)
  for (const request of [0, 1, 0xffff_ffff]) {
    home.send('done', request, {})
    home.send('found', request, { segid })
    home.send('failure', request, { errno: 1, text: 'no' })
    home.send('pong', request, {})
    home.send('got', request, { ...right, apid: BigInt(request) + 1n })
    assert.equal((await home.take('release')).apid, BigInt(request) + 1n)
  }
  const asked = actor.call<{ segid: bigint }>('get', segid, 'read')
  await answerGet(home, {})
  assert.equal((await asked).segid, segid)
})

test('an answer that comes twice gives one permit, and the second is given back', async (t) => {
  const { home, actor } = await startFar(t)
  const asked = actor.call('get', segid, 'read')
  const { request } = await home.take('get')
  home.send('got', request, right)
  home.send('got', request, { ...right, apid: 6n })
  await asked
  assert.equal((await home.take('release')).apid, 6n)
  assert.equal((await partitionOf(actor, 'home')).state, 'active')
})

const leavings: Record<string, (asker: Actor) => Promise<unknown>> = {
  'was killed': (asker) => asker.end(),
  'has closed the partition': (asker) => asker.call('close'),
}

for (const [what, leave] of Object.entries(leavings)) {
  test(`a permit for a process that ${what} meanwhile is given back`, async (t) => {
    const { home, actor, runtimeDir } = await startFar(t)
    const asker = await startActor(t, { runtimeDir, partition: 'far' })
    asker.call('get', segid, 'read').catch(() => {})
    const { request } = await home.take('get')
    await leave(asker)
    // When the service has answered this it has read that the other is gone.
    await actor.call('list')
    home.send('got', request, right)
    assert.equal((await home.take('release')).apid, 5n)
  })
}

test('a permit for a connection that is lost meanwhile is given back, though its process keeps others', async (t) => {
  const { home, actor, socketPath } = await startFar(t)
  const client = new RawClient(socketPath)
  t.after(() => client.close())
  await client.hello()
  client.send('get', 1, { segid, access: access.read })
  await answerGet(home, {})
  assert.equal((await client.answer(1))?.name, 'got')
  client.send('get', 2, { segid, access: access.read })
  const { request } = await home.take('get')
  client.close()
  // When the service has answered this it has read that the connection is closed.
  await actor.call('list')
  home.send('got', request, { ...right, apid: 6n })
  assert.equal((await home.take('release')).apid, 6n)
})

test('a revoke is answered, and who asks for the segment again asks its home', async (t) => {
  const { home, actor } = await startFar(t)
  const first = actor.call<{ handle: number }>('get', segid, 'read')
  await answerGet(home, {})
  const { handle } = await first
  home.send('revoke', 77, { segid, reason: reason.removed })
  assert.equal((await home.take('done')).request, 77)
  const again = assert.rejects(actor.call('get', segid, 'read'), { code: 'ENOENT' })
  home.send('failure', (await home.take('get')).request, { errno: 2, text: 'gone' })
  await again
  await actor.call('release', handle)
  assert.equal((await partitionOf(actor, 'home')).state, 'active')
})

test('a revoke of what nobody has is answered', async (t) => {
  const { home } = await startFar(t)
  for (const request of [1, 2]) {
    home.send('revoke', request, { segid: segid + BigInt(request), reason: reason.ownerExit })
    assert.equal((await home.take('done')).request, request)
  }
})

test("a revoke of the partition's own segment ends the link and nothing else", async (t) => {
  const { home, actor } = await startFar(t)
  const made = await make(actor, { name: 'own' })
  home.send('revoke', 1, { segid: made.segid, reason: reason.removed })
  assert.match(await home.refusal(), /not of that partition/)
  assert.equal((await actor.call<{ segid: bigint }>('get', 'own')).segid, made.segid)
})

for (const why of [0, reason.partition, 0xffff_ffff]) {
  test(`a revoke for reason ${why} ends the link`, async (t) => {
    const { home } = await startFar(t)
    home.send('revoke', 1, { segid, reason: why })
    assert.match(await home.refusal(), /no such reason/)
  })
}

test('segments of a partition whose link went are asked for anew when it comes back', async (t) => {
  const { home, actor } = await startFar(t)
  const first = actor.call<{ handle: number }>('get', segid, 'read')
  await answerGet(home, {})
  const { handle } = await first
  home.close()
  await untilPartition(actor, 'home', ({ state }) => state !== 'active')
  await actor.call('release', handle)
  await assert.rejects(actor.call('get', segid, 'read'), { code: 'EHOSTUNREACH' })
})
