import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, Server } from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { XpmemError } from '../../src/errors.js'
import { xpcVersion } from '../../src/wire/xpc-schema.js'
import type { Address } from '../../src/xpc/directory.js'
import { until } from '../support/until.js'
import { startMember, TestMember } from './member.js'
import { frameOf, joined, listener, ownAddress, rawPeer } from './raw-peer.js'

test('two services that call each other at the same moment keep one connection, which is never taken down', async (t) => {
  for (let round = 0; round < 20; round += 1) {
    const [here, there] = [ownAddress(), ownAddress()]
    const one = new TestMember({ name: 'one', id: 1, listen: here, peers: { two: there } })
    const two = new TestMember({ name: 'two', id: 2, listen: there, peers: { one: here } })
    t.after(() => Promise.all([one.membership.close(), two.membership.close()]))
    await Promise.all([one.membership.start(), two.membership.start()])
    const [link, back] = [one.link('two'), two.link('one')]
    await until(() => link.rttMs !== undefined && back.rttMs !== undefined)
    assert.notEqual(link.current?.dialer, back.current?.dialer)
    const downs = [...one.changes, ...two.changes].filter((change) => change.includes('deactivating'))
    assert.deepEqual(downs, [])
    await Promise.all([one.membership.close(), two.membership.close()])
  }
})

test('a service that comes back with a new incarnation gets the link of the old one, which is taken down first', async (t) => {
  const here = await startMember(t, { name: 'one', id: 1, peers: { two: undefined } })
  const before = await rawPeer(t, here.address)
  await before.hello('two', 2, 1)
  const tooEarly = await rawPeer(t, here.address)
  tooEarly.sayHello('two', 2, { incarnation: 2 })
  assert.match(await before.refusal(), /has connected anew/)
  assert.match(await tooEarly.refusal(), /just ending/)
  const after = await rawPeer(t, here.address)
  await after.hello('two', 2, 2)
  assert.equal(here.link('two').identity?.incarnation, 2)
  assert.deepEqual(
    here.changes.map((change) => change.split(' ')[1]),
    ['active:', 'deactivating:', 'inactive:', 'active:'],
  )
})

test('a service that ends and starts again is connected again, from both sides', async (t) => {
  const [here, there] = [ownAddress(), ownAddress()]
  const one = await startMember(t, { name: 'one', id: 1, listen: here, peers: { two: there } })
  const options = { name: 'two', id: 2, listen: there, peers: { one: here } }
  const two = await startMember(t, { ...options, incarnation: 1 })
  await one.untilState('two', 'active')
  await two.untilState('one', 'active')
  await two.membership.close()
  await one.untilReason('two', /refused: the service is closing/)
  const again = await startMember(t, { ...options, incarnation: 2 })
  await until(() => one.link('two').active && one.link('two').identity?.incarnation === 2)
  await again.untilState('one', 'active')
})

/** What ends first is not said: the connection is read from and written to at any moment. */
const wasCut =
  /deactivating: (the other service closed the connection|recv: connection reset|send(msg)?: (Connection reset|Broken pipe))/

test('a connection that is cut takes the link down at both ends, and another is made', async (t) => {
  const [here, there] = [ownAddress(), ownAddress()]
  const one = await startMember(t, { name: 'one', id: 1, peers: { two: here } })
  const two = await startMember(t, { name: 'two', id: 2, listen: there, peers: { one: undefined } })
  const { server, sockets } = await listener(t, here)
  server.on('connection', (socket) => {
    const onward = connect(there)
    onward.on('error', () => {})
    sockets.push(onward)
    socket.pipe(onward).pipe(socket)
  })
  await until(() => one.link('two').active && two.link('one').active)
  for (const socket of sockets.splice(0)) socket.destroy()
  await one.untilReason('two', wasCut)
  await two.untilReason('one', wasCut)
  await until(() => one.link('two').active && two.link('one').active)
})

test('a peer that says nothing for five heartbeats is taken for gone, and told so', async (t) => {
  const here = await startMember(t, { name: 'one', id: 1, peers: { two: undefined }, heartbeatMs: 10 })
  const peer = await rawPeer(t, here.address)
  peer.onPing = () => {}
  await peer.hello('two', 2)
  assert.match(await peer.refusal(), /nothing was heard of it for 5 heartbeats of 10 ms/)
  await here.untilReason('two', /inactive: nothing was heard of it for 5 heartbeats/)
})

test('a service that was held up itself does not take its peers for gone', async (t) => {
  const [here, there] = [ownAddress(), ownAddress()]
  const one = await startMember(t, { name: 'one', id: 1, listen: here, peers: { two: there }, heartbeatMs: 20 })
  const two = await startMember(t, { name: 'two', id: 2, listen: there, peers: { one: here }, heartbeatMs: 20 })
  await until(() => one.link('two').rttMs !== undefined && two.link('one').rttMs !== undefined)
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500)
  const received = one.link('two').bytes.in
  await until(() => one.link('two').bytes.in > received + 100)
  assert.deepEqual(
    [...one.changes, ...two.changes].filter((change) => change.includes('deactivating')),
    [],
  )
})

test('a round trip that takes longer than a heartbeat is measured all the same', async (t) => {
  const here = await startMember(t, { name: 'one', id: 1, peers: { two: undefined }, heartbeatMs: 10 })
  const peer = await rawPeer(t, here.address)
  const pings: number[] = []
  peer.onPing = (request) => {
    pings.push(request)
    if (pings.length % 3 === 0) peer.send('pong', pings[pings.length - 3] as number, {})
  }
  await peer.hello('two', 2)
  await until(() => here.link('two').rttMs !== undefined)
})

interface Refused {
  readonly name?: string
  readonly id?: number
  readonly peers?: Readonly<Record<string, Address | undefined>>
  readonly reason: RegExp
}

const refused: Record<string, Refused> = {
  'is not in the directory of the other': {
    name: 'stranger',
    reason: /refused: 'stranger' is not in the directory of partition 'home': start that service with --peer stranger/,
  },
  'has the number of the other': {
    id: 1,
    reason: /refused: partitions 'far' and 'home' both have the number 1: give one another --id/,
  },
}

for (const [what, { name = 'far', id = 2, reason }] of Object.entries(refused)) {
  test(`a service that ${what} is refused, and shows why`, async (t) => {
    const home = await startMember(t, { name: 'home', id: 1, peers: { far: undefined } })
    const far = await startMember(t, { name, id, peers: { home: home.address } })
    await far.untilReason('home', reason)
    assert(!home.link('far').active)
  })
}

test('a service that answers where another was expected is refused by the caller, who shows why', async (t) => {
  const home = await startMember(t, { name: 'home', id: 1, peers: { far: undefined } })
  const far = await startMember(t, { name: 'far', id: 2, peers: { house: home.address } })
  await far.untilReason('house', /inactive: partition 'home' answers where 'house' was expected/)
  await home.untilReason('far', /refused: partition 'home' answers where 'house' was expected/)
})

test('a second partition with the number of one that is connected is refused', async (t) => {
  const home = await startMember(t, { name: 'home', id: 1, peers: { far: undefined, twin: undefined } })
  await (await rawPeer(t, home.address)).hello('far', 2)
  const twin = await rawPeer(t, home.address)
  twin.sayHello('twin', 2)
  assert.match(await twin.refusal(), /partition 'far' has the number 2 already/)
  assert(home.link('far').active)
})

for (const version of [0, xpcVersion - 1, xpcVersion + 1, 0xffff_ffff]) {
  test(`version ${version} of the protocol is refused with both versions`, async (t) => {
    const home = await startMember(t, { name: 'home', id: 1, peers: { far: undefined } })
    const far = await rawPeer(t, home.address)
    far.sayHello('far', 2, { version })
    assert.match(
      await far.refusal(),
      new RegExp(`version ${version} of the protocol was said, version ${xpcVersion} is spoken`),
    )
  })
}

for (const [partition, incarnation] of [
  [0, 1],
  [4_096, 1],
  [2, 0],
] as const) {
  test(`partition ${partition} in incarnation ${incarnation} is refused as none`, async (t) => {
    const home = await startMember(t, { name: 'home', id: 1, peers: { far: undefined } })
    const far = await rawPeer(t, home.address)
    far.sayHello('far', partition, { incarnation })
    assert.match(await far.refusal(), /that is no partition/)
  })
}

test('where nobody listens a call is EHOSTUNREACH at once, with what the system said', async (t) => {
  const one = await startMember(t, { name: 'one', id: 1, peers: { two: ownAddress() } })
  await assert.rejects(one.membership.reach(one.link('two'), 'get'), {
    code: 'EHOSTUNREACH',
    call: 'get',
    message: /partition 'two' is inactive: .*ECONNREFUSED/,
  })
})

test('what takes connections and says nothing is EHOSTUNREACH, and the link says that no hello came', async (t) => {
  const silent = ownAddress()
  await listener(t, silent)
  const one = await startMember(t, { name: 'one', id: 1, peers: { two: silent } })
  await assert.rejects(one.membership.reach(one.link('two'), 'get'), { code: 'EHOSTUNREACH' })
  await one.untilReason('two', /inactive: no hello came/)
})

test('a peer that is waited for is EHOSTUNREACH at once', async (t) => {
  const one = await startMember(t, { name: 'one', id: 1, peers: { two: undefined } })
  await assert.rejects(one.membership.reach(one.link('two'), 'get'), {
    code: 'EHOSTUNREACH',
    message: /partition 'two' is inactive: it has not connected yet/,
  })
})

test('while a link is taken down no connection of the peer is taken, calls wait, and then it comes back', async (t) => {
  let finish = () => {}
  const taken = new Promise<void>((resolve) => {
    finish = resolve
  })
  const here = await startMember(t, { name: 'one', id: 1, peers: { two: undefined }, down: () => taken })
  const first = await rawPeer(t, here.address)
  await first.hello('two', 2)
  first.close()
  await here.untilState('two', 'deactivating')
  const early = await rawPeer(t, here.address)
  early.sayHello('two', 2)
  assert.match(await early.refusal(), /just ending/)
  const reached = here.membership.reach(here.link('two'), 'get')
  finish()
  await assert.rejects(reached, { code: 'EHOSTUNREACH' })
  assert.equal(here.link('two').state.name, 'inactive')
  await (await rawPeer(t, here.address)).hello('two', 2)
})

test('close waits for a link that was being taken down already', async (t) => {
  let finish = () => {}
  const taken = new Promise<void>((resolve) => {
    finish = resolve
  })
  const here = await startMember(t, { name: 'one', id: 1, peers: { two: undefined }, down: () => taken })
  const peer = await rawPeer(t, here.address)
  await peer.hello('two', 2)
  peer.close()
  await here.untilState('two', 'deactivating')
  let closed = false
  const closing = here.membership.close().then(() => {
    closed = true
  })
  await sleep(0)
  assert(!closed)
  finish()
  await closing
  assert.equal(here.link('two').state.name, 'inactive')
})

test('whoever waits for a connection when the service closes is told at once', async (t) => {
  const silent = ownAddress()
  await listener(t, silent)
  const one = await startMember(t, { name: 'one', id: 1, peers: { two: silent } })
  let told = false
  const reached = assert.rejects(one.membership.reach(one.link('two'), 'get'), { code: 'EHOSTUNREACH' }).then(() => {
    told = true
  })
  await one.membership.close()
  await sleep(0)
  assert(told)
  await reached
})

test('requests under way fail with EHOSTUNREACH when the link goes down, and further ones at once', async (t) => {
  const here = await startMember(t, { name: 'one', id: 1, peers: { two: undefined } })
  const peer = await rawPeer(t, here.address)
  await peer.hello('two', 2)
  const asked = here.link('two').request('find', { text: 'x' }, 60_000)
  await peer.take('find')
  peer.close()
  await assert.rejects(asked, { code: 'EHOSTUNREACH', message: /partition 'two' is deactivating/ })
  await assert.rejects(here.link('two').request('find', { text: 'x' }, 60_000), { code: 'EHOSTUNREACH' })
})

test('an answer after its time is handed on as late, and the next request is answered', async (t) => {
  const here = await startMember(t, { name: 'one', id: 1, peers: { two: undefined } })
  const peer = await rawPeer(t, here.address)
  await peer.hello('two', 2)
  await assert.rejects(here.link('two').request('find', { text: 'x' }, 1), { code: 'ETIMEDOUT' })
  peer.send('found', (await peer.take('find')).request, { segid: 1n })
  const asked = here.link('two').request('find', { text: 'y' }, 60_000)
  peer.send('found', (await peer.take('find')).request, { segid: 2n })
  assert.equal(((await asked) as { segid?: bigint }).segid, 2n)
  assert.deepEqual(
    here.late.map((answer) => (answer as { segid?: bigint }).segid),
    [1n],
  )
})

test('two ends that both send more than either takes do not wait for each other for ever', async (t) => {
  const [here, there] = [ownAddress(), ownAddress()]
  const one = await startMember(t, { name: 'one', id: 1, listen: here, peers: { two: there } })
  const two = await startMember(t, { name: 'two', id: 2, listen: there, peers: { one: here } })
  await until(() => one.link('two').active && two.link('one').active)
  const rows = Array.from({ length: 65_536 }, (_, gid) => ({ gid, reserved: 0 }))
  const count = 50
  for (let sent = 0; sent < count; sent += 1) {
    one.link('two').send('get', sent, { rows })
    two.link('one').send('get', sent, { rows })
  }
  await until(() => one.messages.length === count && two.messages.length === count)
  assert.deepEqual(
    one.messages.map(({ request }) => request),
    Array.from({ length: count }, (_, index) => index),
  )
  assert.deepEqual(
    [...one.changes, ...two.changes].filter((change) => change.includes('deactivating')),
    [],
  )
})

test('a peer that takes nothing is cut off when too much waits for it, and its requests fail', async (t) => {
  const here = await startMember(t, { name: 'one', id: 1, peers: { two: undefined } })
  const peer = await rawPeer(t, here.address)
  await peer.hello('two', 2)
  peer.socket.pause()
  const link = here.link('two')
  const rows = Array.from({ length: 65_536 }, (_, gid) => ({ gid, reserved: 0 }))
  for (let sent = 0; sent < 200 && link.active; sent += 1) {
    link.send('get', sent, { rows })
    await sleep(0)
  }
  await here.untilReason('two', /deactivating: the other service leaves \d+ bytes unread/)
})

test('what a stranger refuses with is shown short and without control characters', async (t) => {
  const there = ownAddress()
  const { server } = await listener(t, there)
  const connected = once(server, 'connection')
  const one = await startMember(t, { name: 'one', id: 1, peers: { two: there } })
  const [socket] = await connected
  socket.end(frameOf('refuse', 0, { errno: 71, text: `\u001b[2J\n${'x'.repeat(500_000)}` }))
  await one.untilReason('two', /inactive: the other service refused: \?\[2J\?x+$/)
  assert(one.link('two').state.reason.length < 400)
})

test('those who come and say nothing, however many, keep no peer out', async (t) => {
  const here = await startMember(t, { name: 'one', id: 1, peers: { two: undefined } })
  const silent = await Promise.all(Array.from({ length: 200 }, () => rawPeer(t, here.address)))
  await (await rawPeer(t, here.address)).hello('two', 2)
  // Those who made room were told nothing, unlike those whose time was over.
  await until(() => silent.filter(({ ended }) => ended).length >= 200 - 65)
  assert(silent.filter(({ ended, words }) => ended && words.length === 0).length >= 200 - 65)
  assert(here.link('two').active)
})

test('who goes on talking after it was refused is cut off all the same', async (t) => {
  const here = await startMember(t, { name: 'one', id: 1, peers: {} })
  const peer = await rawPeer(t, here.address)
  peer.socket.allowHalfOpen = true
  peer.sayHello('two', 2)
  await peer.take('refuse')
  await until(() => {
    if (!peer.ended) peer.socket.write(new Uint8Array(1))
    return peer.ended
  })
})

test('an error of the listener is no end of the service', async (t) => {
  const before = new Set(activeServers())
  const here = await startMember(t, { name: 'one', id: 1, peers: { two: undefined } })
  const [server] = activeServers().filter((one) => !before.has(one))
  assert(server !== undefined)
  for (let round = 0; round < 3; round += 1) server.emit('error', new XpmemError('EMFILE', 'accept', 'on purpose'))
  await joined(t, here.address, 'two', 2)
})

function activeServers(): Server[] {
  const handles = (process as unknown as { _getActiveHandles(): object[] })._getActiveHandles()
  return handles.filter((handle) => handle instanceof Server)
}

test('a name that two peers have, or the partition itself, is EINVAL', () => {
  assert.throws(() => new TestMember({ name: 'one', id: 1, peers: { one: undefined } }), { code: 'EINVAL' })
})

test('an address that is taken is told with the address', async (t) => {
  const taken = ownAddress()
  await listener(t, taken)
  const member = new TestMember({ name: 'one', id: 1, listen: taken })
  t.after(() => member.membership.close())
  await assert.rejects(member.membership.start(), {
    message: new RegExp(`cannot listen on ${taken.host}:7000: .*EADDRINUSE`),
  })
})
