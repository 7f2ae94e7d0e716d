import assert from 'node:assert/strict'
import { test } from 'node:test'
import { access } from '../../src/wire/schema.js'
import { RawClient } from '../support/raw.js'
import { startService } from '../support/service.js'
import { assertFailure } from './scene.js'

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
