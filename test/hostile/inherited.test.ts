/** What a process says over a connection that it inherited from another. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import type { Message, MessageInput } from '../../src/wire/codec.js'
import { encodeOwn } from '../../src/wire/codec.js'
import { type MessageName, protocolVersion, role } from '../../src/wire/schema.js'
import type { RawClient } from '../support/raw.js'
import { assertFailure, Scene } from './scene.js'

/** A child that finds the client's socket as its descriptor 3 and sends the messages over it. */
async function saidByChild(client: RawClient, messages: Uint8Array[]): Promise<void> {
  const script = `
import socket, sys
s = socket.socket(fileno=3)
for message in sys.argv[1:]:
    s.send(bytes.fromhex(message))
`
  const words = messages.map((bytes) => Buffer.from(bytes).toString('hex'))
  const child = spawn('python3', ['-c', script, ...words], { stdio: ['ignore', 'inherit', 'inherit', client.socket] })
  const [code] = (await once(child, 'exit')) as [number]
  assert.equal(code, 0)
}

const message = <N extends MessageName>(name: N, input: MessageInput<N>) => encodeOwn(name, 77, input)

test('a connection is its own process’s alone', async (t) => {
  const scene = await Scene.start(t)

  await scene.case(
    t,
    'what a child says over the socket of its parent is neither done nor answered',
    async (hostile) => {
      const client = await hostile.greeted()
      const made = (await client.request('make', {
        address: 0n,
        length: 4096,
        mode: 0o600,
        text: 'mine',
      })) as Message & {
        name: 'made'
      }
      await saidByChild(client, [
        message('ping', {}),
        message('remove', { segid: made.segid }),
        message('get', { segid: made.segid, access: 2 }),
        message('make', { address: 0n, length: 4096, text: 'by the child' }),
        message('goodbye', {}),
        message('hello', { version: protocolVersion, role: role.control }),
        message('held', {}),
      ])
      assertFailure(await client.request('get', { access: 1, text: 'by the child' }), 'ENOENT')
      assert.equal((await client.request('get', { access: 1, text: 'mine' }))?.name, 'got')
      assert.deepEqual(client.received, [])
      assert(!client.ended)
    },
  )

  await scene.case(t, 'a child does not say hello for its parent', async (hostile) => {
    const client = hostile.client()
    await saidByChild(client, [message('hello', { version: protocolVersion, role: role.control })])
    await client.hello()
    assert.equal((await client.request('ping', {}))?.name, 'done')
    assert(!client.received.some(({ request }) => request === 77))
  })

  await scene.case(t, 'a child does not answer for the agent of its parent', async (hostile) => {
    const agent = await hostile.greeted(role.agent)
    const client = await hostile.greeted()
    const made = (await client.request('make', { address: 0n, length: 4096, mode: 0o600 })) as Message & {
      name: 'made'
    }
    const got = (await client.request('get', { segid: made.segid, access: 1 })) as Message & { name: 'got' }
    client.send('attach', 5, { apid: got.apid, offset: 0, length: 4096 })
    // The child's answers carry every number that the question can have.
    const refusals = [0, 1, 2, 3].map((request) => encodeOwn('failure', request, { errno: 1, text: 'by the child' }))
    await saidByChild(agent, refusals)
    assertFailure(await client.answer(5), 'ETIMEDOUT')
    await client.request('remove', { segid: made.segid })
  })
})
