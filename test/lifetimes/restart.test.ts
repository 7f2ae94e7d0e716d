/** The service dies and comes back: mappings go on, identifiers stay, nobody hangs. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Got, Made } from '../conformance/face.js'
import { type Actor, startActor } from '../support/actor.js'
import { runtimeDirectory, startService } from '../support/service.js'
import { stop } from '../support/stop.js'
import { until } from '../support/until.js'

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()

async function scene(t: TestContext) {
  const runtimeDir = runtimeDirectory(t)
  const service = await startService(t, { runtimeDir })
  const owner = await startActor(t, { runtimeDir })
  const consumer = await startActor(t, { runtimeDir })
  const region = await owner.call<number>('allocate', 8192)
  const live = await owner.call<number>('wasm', 2)
  const made = await owner.call<Made>('make', region, { name: 'stays' })
  const madeLive = await owner.call<Made>('make', live)
  const permit = await consumer.call<Got>('get', 'stays', 'readwrite')
  const attachment = await consumer.call<number>('attach', permit.handle)
  return { runtimeDir, service, owner, consumer, region, live, made, madeLive, permit, attachment }
}

const back = (...actors: Actor[]) => until(() => actors.every(({ events }) => events.includes('reconnected')))

test('mappings go on without a service, and segids and permits are the same with the next one', async (t) => {
  const { runtimeDir, service, owner, consumer, region, live, made, madeLive, permit, attachment } = await scene(t)
  await service.end('SIGKILL')
  await until(() => [owner, consumer].every(({ events }) => events.includes('disconnected')))
  await owner.call('write', region, 0, Buffer.from('nobody serves'))
  assert.equal(text(await consumer.call('read', attachment, 0, 13)), 'nobody serves')
  await startService(t, { runtimeDir })
  await back(owner, consumer)
  // The consumer's agent comes back by itself, a moment before or after its session; it tells of the attachment.
  let listed: { segid: string; name: string; permits: number; attachments: number | null }[] = []
  await until(async () => {
    listed = await owner.call('list')
    return listed[0]?.attachments === 1
  })
  assert.deepEqual(
    listed.map(({ segid }) => BigInt(segid)),
    [made.segid, madeLive.segid],
  )
  assert.deepEqual([listed[0]?.name, listed[0]?.permits], ['stays', 1])
  const second = await consumer.call<number>('attach', permit.handle, { offset: 4096 })
  await consumer.call('write', second, 0, Buffer.from('old permit'))
  assert.equal(text(await owner.call('read', region, 4096, 10)), 'old permit')
  const permitLive = await consumer.call<Got>('get', madeLive.segid, 'readwrite')
  await consumer.call('write', await consumer.call('attach', permitLive.handle), 9, Buffer.from('live'))
  assert.equal(text(await owner.call('read', live, 9, 4)), 'live')
})

test('remove under the next service revokes what was attached under the one before', async (t) => {
  const { runtimeDir, service, owner, consumer, made, attachment } = await scene(t)
  await service.end('SIGKILL')
  const removed = owner.call('remove', made.handle)
  await startService(t, { runtimeDir })
  await removed
  await until(() => consumer.events.includes(`revoked:${attachment}:removed`))
  assert.equal(await consumer.call('byteLength', attachment), 0)
})

test('an owner that dies while no service runs: its attachers hear of it from the next one', async (t) => {
  const { runtimeDir, service, owner, consumer, attachment } = await scene(t)
  await service.end('SIGKILL')
  await owner.end('SIGKILL')
  await startService(t, { runtimeDir })
  await until(() => consumer.events.includes(`revoked:${attachment}:owner-exit`))
})

test('an owner that is stopped while the service restarts is waited for', async (t) => {
  const { runtimeDir, service, owner, consumer, region, attachment } = await scene(t)
  await service.end('SIGKILL')
  await stop(owner.pid)
  await startService(t, { runtimeDir })
  await back(consumer)
  owner.child.kill('SIGCONT')
  await back(owner)
  await owner.call('write', region, 0, Buffer.from('awake'))
  assert.equal(text(await consumer.call('read', attachment, 0, 5)), 'awake')
  assert.deepEqual(
    consumer.events.filter((event) => event.startsWith('revoked')),
    [],
  )
})

test('calls that wait when the service dies get their answer from the next one', async (t) => {
  const { runtimeDir, service, owner, consumer, made, permit } = await scene(t)
  await stop(service.pid)
  const region = await owner.call<number>('allocate', 4096)
  const calls = [
    consumer.call<Got>('get', made.segid),
    consumer.call<number>('attach', permit.handle),
    owner.call<Made>('make', region, { name: 'waits' }),
    owner.call('list'),
  ]
  await service.end('SIGKILL')
  await startService(t, { runtimeDir })
  await Promise.all(calls)
  await consumer.call<Got>('get', 'waits')
})

test('a call that waits for a service that does not come back ends with ETIMEDOUT', async (t) => {
  const { service, consumer, made } = await scene(t)
  await service.end('SIGKILL')
  await until(() => consumer.events.includes('disconnected'))
  await assert.rejects(consumer.call('get', made.segid), { code: 'ETIMEDOUT' })
})

test('a service that is stopped for good: a waiting call ends with ETIMEDOUT', async (t) => {
  const { service, consumer, made } = await scene(t)
  await stop(service.pid)
  await assert.rejects(consumer.call('get', made.segid), { code: 'ETIMEDOUT' })
})

test('clients that may start the service do so when it dies, and it leaves when they are gone', async (t) => {
  const runtimeDir = runtimeDirectory(t)
  const service = await startService(t, { runtimeDir })
  const owner = await startActor(t, { runtimeDir, autoStart: true })
  const region = await owner.call<number>('allocate', 4096)
  const { segid } = await owner.call<Made>('make', region, { name: 'restarted' })
  await service.end('SIGKILL')
  await back(owner)
  const next = await owner.call<number>('servicePid')
  t.after(() => process.kill(next, 'SIGTERM'))
  assert.notEqual(next, service.pid)
  const consumer = await startActor(t, { runtimeDir })
  assert.equal((await consumer.call<{ segid: bigint }>('get', 'restarted')).segid, segid)
})

test('opening a partition whose service is stopped ends with ETIMEDOUT', async (t) => {
  const service = await startService(t)
  await stop(service.pid)
  await assert.rejects(startActor(t, { runtimeDir: service.runtimeDir }), { code: 'ETIMEDOUT' })
})
