import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { Got } from '../conformance/face.js'
import { startActor } from '../support/actor.js'
import { startService } from '../support/service.js'
import { until } from '../support/until.js'

const many = 1_000

const descriptorsOf = (pid: number) => readdirSync(`/proc/${pid}/fd`).length
const mappingsOf = (pid: number) => readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n').length
const memfdsOf = (pid: number) =>
  readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .filter((line) => line.includes('/memfd:xpmem')).length

test(`${many} segments and attachments, opened and closed, leave no descriptor and no mapping`, async (t) => {
  const service = await startService(t)
  const owner = await startActor(t, service)
  const consumer = await startActor(t, service)
  const round = async () => {
    const segids = await owner.call<bigint[]>('makeMany', many)
    await consumer.call('attachMany', segids)
    assert.equal(memfdsOf(consumer.pid), many)
    assert.ok(descriptorsOf(service.pid) >= 2 * many)
    await owner.call('removeMany')
    await consumer.call('releaseMany')
  }
  const unmapped = () =>
    until(async () => {
      await Promise.all([owner.call('gc'), consumer.call('gc')])
      return memfdsOf(consumer.pid) === 0 && memfdsOf(owner.pid) === 0
    })
  await round()
  await unmapped()
  const pids = [service.pid, owner.pid, consumer.pid]
  const before = pids.map(descriptorsOf)
  const mapped = pids.map(mappingsOf)
  await round()
  await unmapped()
  assert.deepEqual(pids.map(descriptorsOf), before)
  // The collector's own mappings come and go; a thousand of ours would show.
  for (const [index, pid] of pids.entries()) {
    assert.ok(mappingsOf(pid) < (mapped[index] as number) + many / 10)
  }
  assert.equal((await owner.call<unknown[]>('list')).length, 0)
})

test('attachments that are not reachable any more are unmapped, and their permits released', async (t) => {
  const service = await startService(t)
  const owner = await startActor(t, service)
  const consumer = await startActor(t, service)
  const region = await owner.call<number>('allocate', 4096)
  await owner.call('make', region, { name: 'collected' })
  const permit = await consumer.call<Got>('get', 'collected')
  const attachment = await consumer.call<number>('attach', permit.handle)
  assert.equal(memfdsOf(consumer.pid), 1)
  await consumer.call('forget', attachment)
  await consumer.call('forget', permit.handle)
  await until(async () => {
    await consumer.call('gc')
    const [segment] = await owner.call<{ permits: number }[]>('list')
    return memfdsOf(consumer.pid) === 0 && segment?.permits === 0
  })
})
