import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startActor } from '../support/actor.js'
import { startService } from '../support/service.js'
import { until } from '../support/until.js'

test('what one process writes, another reads, both ways', async (t) => {
  const { runtimeDir } = await startService(t)
  const owner = await startActor(t, { runtimeDir })
  const consumer = await startActor(t, { runtimeDir })
  const region = await owner.call<number>('allocate', 8192)
  const { segid } = await owner.call<{ segid: bigint }>('make', region, { name: 'both-ways' })
  const permit = await consumer.call<{ handle: number }>('get', 'both-ways', 'readwrite')
  const attachment = await consumer.call<number>('attach', permit.handle)
  await owner.call('write', region, 5000, Buffer.from('from the owner'))
  assert.equal(Buffer.from(await consumer.call<Uint8Array>('read', attachment, 5000, 14)).toString(), 'from the owner')
  await consumer.call('write', attachment, 0, Buffer.from('and back'))
  assert.equal(Buffer.from(await owner.call<Uint8Array>('read', region, 0, 8)).toString(), 'and back')
  await owner.call('removeSegid', segid)
  await until(() => consumer.events.includes(`revoked:${attachment}:removed`))
  assert.equal(await consumer.call('byteLength', attachment), 0)
})

test('memory that exists already is shared in place', async (t) => {
  const { runtimeDir } = await startService(t)
  const owner = await startActor(t, { runtimeDir })
  const consumer = await startActor(t, { runtimeDir })
  const memory = await owner.call<number>('wasm', 16)
  await owner.call('write', memory, 70_000, Buffer.from('before'))
  const { segid } = await owner.call<{ segid: bigint }>('make', memory)
  const permit = await consumer.call<{ handle: number }>('get', segid, 'readwrite')
  const attachment = await consumer.call<number>('attach', permit.handle, { offset: 65_536, length: 65_536 })
  assert.equal(Buffer.from(await consumer.call<Uint8Array>('read', attachment, 4464, 6)).toString(), 'before')
  await consumer.call('write', attachment, 4464, Buffer.from('after!'))
  assert.equal(Buffer.from(await owner.call<Uint8Array>('read', memory, 70_000, 6)).toString(), 'after!')
})
