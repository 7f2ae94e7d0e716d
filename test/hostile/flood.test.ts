import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Message } from '../../src/wire/codec.js'
import { access, role } from '../../src/wire/schema.js'
import type { RawClient } from '../support/raw.js'
import { until } from '../support/until.js'
import { memfd } from './files.js'
import { residentBytes, Scene } from './scene.js'

const requests = 100_000
const mebibyte = 2 ** 20

/** Sends one of the cheap and the dear requests; false if the socket is full. */
function sendOne(client: RawClient, request: number): boolean {
  if (request % 50 === 0) return client.send('list', request, { cursor: 2n ** 63n - 1n })
  if (request % 2 === 0) return client.send('ping', request, {})
  return client.send('get', request, { access: access.read, text: request % 4 === 1 ? 'innocent' : 'nobody' })
}

test('requests and answers without end', async (t) => {
  const scene = await Scene.start(t)
  const { pid } = scene.service

  await scene.case(
    t,
    'who does not read its answers is not heard until it does, and then gets every one',
    async (hostile) => {
      const client = await hostile.greeted()
      const before = residentBytes(pid)
      let sent = 0
      // The sockets are full when nothing goes out over several rounds of the others' sharing.
      for (let idle = 0; idle < 3; ) {
        const already = sent
        while (sent < requests && sendOne(client, sent)) sent += 1
        await scene.bystanders.check()
        idle = sent === already ? idle + 1 : 0
      }
      assert(sent < requests / 10, `${sent} requests were taken with no answer read`)
      assert(residentBytes(pid) - before < 32 * mebibyte)
      const seen = new Set<number>()
      const take = () => {
        client.poll()
        for (const { request } of client.received.splice(0)) seen.add(request)
      }
      await until(() => {
        while (sent < requests && sendOne(client, sent)) sent += 1
        take()
        return client.ended || seen.size === requests
      })
      assert(!client.ended)
      assert.equal(seen.size, requests)
      assert(residentBytes(pid) - before < 128 * mebibyte)
    },
  )

  await scene.case(
    t,
    'who attaches without end memory whose owner keeps silent holds up nobody else',
    async (hostile) => {
      const agent = await hostile.greeted(role.agent)
      const client = await hostile.greeted()
      const made = (await client.request('make', { address: 0n, length: 4096, mode: 0o600 })) as Message & {
        name: 'made'
      }
      const got = (await client.request('get', { segid: made.segid, access: 1 })) as Message & { name: 'got' }
      const before = residentBytes(pid)
      let sent = 0
      for (let idle = 0; idle < 3; ) {
        const already = sent
        while (sent < requests && client.send('attach', sent, { apid: got.apid, offset: 0, length: 4096 })) sent += 1
        await scene.bystanders.check()
        idle = sent === already ? idle + 1 : 0
      }
      assert(sent < requests / 10, `${sent} requests were taken`)
      assert(residentBytes(pid) - before < 32 * mebibyte)
      agent.close()
      client.close()
      const again = await hostile.greeted()
      await again.request('release', { apid: got.apid })
      await again.request('remove', { segid: made.segid })
    },
  )

  await scene.case(t, 'an agent that does not read what it is asked does not make it pile up', async (hostile) => {
    const agent = await hostile.greeted(role.agent)
    const client = await hostile.greeted()
    const { readwrite, readonly } = memfd(hostile, 4096)
    const make = { address: 0n, length: 4096, flags: 1, mode: 0o600 }
    const made = (await client.request('make', make, [readwrite, readonly])) as Message & { name: 'made' }
    const got = (await client.request('get', { segid: made.segid, access: 1 })) as Message & { name: 'got' }
    const attach = { apid: got.apid, offset: 0, length: 4096 }
    assert.equal((await client.request('attach', attach))?.name, 'extents')
    // Each listing asks every agent that holds memory what it has mapped.
    const askers = await Promise.all(Array.from({ length: 16 }, () => hostile.greeted()))
    for (let round = 0; round < 3; round += 1) {
      await Promise.all(askers.flatMap((asker) => Array.from({ length: 64 }, () => asker.request('list', {}))))
      await scene.bystanders.check()
    }
    for (let idle = 0; idle < 3; ) {
      const already = agent.received.length
      agent.poll()
      await client.request('ping', {})
      idle = agent.received.length === already ? idle + 1 : 0
    }
    assert(agent.received.length < 1_000, `${agent.received.length} requests were kept for it`)
    await client.request('release', { apid: got.apid })
    await client.request('remove', { segid: made.segid })
  })
})
