import assert from 'node:assert/strict'
import { test } from 'node:test'
import { access, maxDescriptors } from '../../src/wire/schema.js'
import { RawClient } from '../support/raw.js'
import { startService } from '../support/service.js'
import { until } from '../support/until.js'
import { assertFailure, descriptorCount } from './scene.js'

test('a get of a name as long as a datagram, while owners are still coming back, does not end the service', async (t) => {
  const first = await startService(t)
  await first.end('SIGKILL')
  const second = await startService(t, { runtimeDir: first.runtimeDir })
  const client = new RawClient(second.socket)
  t.after(() => client.close())
  await client.hello()
  const lengths = [1, 60_000, 65_512]
  for (const length of lengths) client.send('get', length, { access: access.read, text: 'n'.repeat(length) })
  for (const length of lengths) assertFailure(await client.answer(length), 'ENOENT')
  assert.equal((await client.request('ping', {}))?.name, 'done')
  assert.equal(second.child.exitCode, null)
})

test('a make that is wrong does not wait with its descriptors for owners to come back', async (t) => {
  const first = await startService(t)
  await first.end('SIGKILL')
  const second = await startService(t, { runtimeDir: first.runtimeDir })
  const client = new RawClient(second.socket)
  t.after(() => client.close())
  await client.hello()
  const offer = { address: 4096n, length: 4096, mode: 0o600 }
  const before = descriptorCount(second.pid)
  client.send('make', 1, { ...offer, text: 'waits' })
  client.send('make', 2, { ...offer, text: 'wrong' }, Array(maxDescriptors).fill(client.socket))
  assertFailure(await client.answer(2), 'EPROTO')
  assert.deepEqual(
    client.received.map(({ request }) => request),
    [2],
  )
  assert.equal((await client.request('ping', {}))?.name, 'done')
  await until(() => descriptorCount(second.pid) === before)
  assert.equal((await client.answer(1))?.name, 'made')
})

test('a segment that was removed does not come back by its old token', async (t) => {
  const { socket } = await startService(t)
  const client = new RawClient(socket)
  t.after(() => client.close())
  await client.hello()
  const offer = { address: 4096n, length: 4096, mode: 0o600 }
  const made = await client.request('make', offer)
  assert.ok(made?.name === 'made')
  const { segid, tokenHigh, tokenLow } = made
  assert.equal((await client.request('remove', { segid }))?.name, 'done')
  assertFailure(await client.request('make', { ...offer, segid, tokenHigh, tokenLow }), 'ENOENT')
  assertFailure(await client.request('get', { segid, access: access.read }), 'ENOENT')
})
