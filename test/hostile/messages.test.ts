import assert from 'node:assert/strict'
import { test } from 'node:test'
import { kernel } from '../../src/kernel/index.js'
import { encodeOwn } from '../../src/wire/codec.js'
import { type MessageName, maxMessageBytes, messages, protocolVersion, role } from '../../src/wire/schema.js'
import { startActor } from '../support/actor.js'
import { assertFailure, clientRequests, Scene } from './scene.js'

/** What a client may send after its hello. */
test('messages that are none, or come when they must not', async (t) => {
  const scene = await Scene.start(t)
  const nothing = new Uint8Array(0)

  const cutOff = (name: string, bytes: Uint8Array) =>
    scene.case(t, `${name} before the hello and after it ends that connection`, async (hostile) => {
      const stranger = hostile.client()
      stranger.sendBytes(bytes)
      await stranger.whenEnded()
      const client = await hostile.greeted()
      client.sendBytes(bytes)
      await client.whenEnded()
      const agent = await hostile.greeted(role.agent)
      agent.sendBytes(bytes)
      await agent.whenEnded()
    })

  const ping = encodeOwn('ping', 1, {})
  await cutOff('a datagram of one byte', Uint8Array.of(1))
  await cutOff('a header cut in half', ping.subarray(0, 4))
  await cutOff('a header with an unknown code', Uint8Array.of(0xff, 0xff, 0, 0, 0, 0, 0, 0))
  await cutOff('a header with reserved bytes set', Uint8Array.of(ping[0] as number, 0, 1, 0, 0, 0, 0, 0))
  await cutOff('a message with one byte too many', Uint8Array.of(...ping, 0))
  await cutOff('a message cut off in its fields', encodeOwn('attach', 1, {}).subarray(0, 20))
  await cutOff('a name that is not UTF-8', Uint8Array.of(...encodeOwn('get', 1, { access: 1 }), 0xff))
  await cutOff('a datagram longer than any message', new Uint8Array(maxMessageBytes + 1))
  const long = new Uint8Array(200_000)
  long.set(encodeOwn('get', 1, {}))
  await cutOff('a datagram of 200,000 bytes that begins well', long)
  await cutOff('an empty datagram', nothing)

  for (const name of clientRequests) {
    await scene.case(t, `a ${name} without a hello before it is refused as EPROTO`, async (hostile) => {
      const client = hostile.client()
      client.send(name, 7, {})
      assertFailure(await client.answer(7), 'EPROTO')
      await client.whenEnded()
    })
  }

  await scene.case(t, 'a second hello on a connection is refused as EPROTO', async (hostile) => {
    for (const second of [role.control, role.agent]) {
      const client = await hostile.greeted()
      client.send('hello', 9, { version: protocolVersion, role: second })
      assertFailure(await client.answer(9), 'EPROTO')
      await client.whenEnded()
    }
  })

  await scene.case(t, 'a hello of another version is told which version the service speaks', async (hostile) => {
    for (const version of [0, protocolVersion + 1, 0xffff_ffff]) {
      const client = hostile.client()
      client.send('hello', 1, { version, role: role.control })
      const answer = await client.answer(1)
      assertFailure(answer, 'EPROTO')
      assert.match((answer as { text: string }).text, new RegExp(`version ${version} of the protocol`))
      await client.whenEnded()
    }
  })

  await scene.case(t, 'a hello in a role that there is not is refused as EPROTO', async (hostile) => {
    for (const odd of [0, 3, 0xffff_ffff]) {
      const client = hostile.client()
      client.send('hello', 1, { version: protocolVersion, role: odd })
      assertFailure(await client.answer(1), 'EPROTO')
      await client.whenEnded()
    }
  })

  await scene.case(t, 'a second agent of one process is refused, and the first stays', async (hostile) => {
    const first = await hostile.greeted(role.agent)
    const second = hostile.client()
    second.send('hello', 1, { version: protocolVersion, role: role.agent, image: kernel.image() })
    assertFailure(await second.answer(1), 'EEXIST')
    await second.whenEnded()
    first.poll()
    assert(!first.ended)
  })

  const unasked = (Object.keys(messages) as MessageName[]).filter(
    (name) => !clientRequests.includes(name) && name !== 'goodbye',
  )
  for (const name of unasked) {
    await scene.case(t, `a ${name} on a control connection ends it`, async (hostile) => {
      const client = await hostile.greeted()
      client.send(name, 3, {})
      assertFailure(await client.answer(3), 'EPROTO')
      await client.whenEnded()
    })
  }

  await scene.case(t, 'answers of an agent that nobody asked for are dropped', async (hostile) => {
    const agent = await hostile.greeted(role.agent)
    for (let request = 0; request < 200; request += 1) {
      agent.send(
        ['done', 'extents', 'holdings', 'failure', 'armed', 'ping', 'make'][request % 7] as MessageName,
        request,
        {},
      )
    }
    const client = await hostile.greeted()
    assert.equal((await client.request('ping', {}))?.name, 'done')
    agent.poll()
    assert(!agent.ended)
  })

  await scene.case(t, 'a goodbye ends what the session made, and the connection goes on', async (hostile) => {
    const client = await hostile.greeted()
    const made = await client.request('make', { address: 0n, length: 4096, mode: 0o600, text: 'goes' })
    assert.equal(made?.name, 'made')
    for (let times = 0; times < 3; times += 1) client.send('goodbye', 0, {})
    assertFailure(await client.request('get', { access: 1, text: 'goes' }), 'ENOENT')
    assert.equal((await client.request('make', { address: 0n, length: 4096, mode: 0o600 }))?.name, 'made')
  })

  await scene.case(t, 'a client that closes with its answers unread leaves nothing', async (hostile) => {
    for (let times = 0; times < 20; times += 1) {
      const client = hostile.client()
      client.send('hello', 1, { version: protocolVersion, role: role.control })
      for (let request = 2; request < 40; request += 1) client.send('list', request, {})
      client.close()
    }
  })

  await t.test('a new process can still open the partition', async (inner) => {
    const actor = await startActor(inner, { runtimeDir: scene.service.runtimeDir })
    assert((await actor.call<unknown[]>('list')).length >= 1)
  })
})
