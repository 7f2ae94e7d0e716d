import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Got, Made } from '../conformance/face.js'
import { startActor } from '../support/actor.js'
import { startService } from '../support/service.js'
import { stop } from '../support/stop.js'
import { until } from '../support/until.js'

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()

test('a stopped owner: attachments go on, memory of regions is still given, live memory times out', async (t) => {
  const { runtimeDir } = await startService(t)
  const owner = await startActor(t, { runtimeDir })
  const consumer = await startActor(t, { runtimeDir })
  const region = await owner.call<number>('allocate', 8192)
  const live = await owner.call<number>('wasm', 1)
  const made = await owner.call<Made>('make', region)
  const madeLive = await owner.call<Made>('make', live)
  await owner.call('write', region, 0, Buffer.from('asleep'))
  const permit = await consumer.call<Got>('get', made.segid, 'readwrite')
  const attachment = await consumer.call<number>('attach', permit.handle)
  await stop(owner.pid)
  assert.equal(text(await consumer.call('read', attachment, 0, 6)), 'asleep')
  await consumer.call('write', attachment, 0, Buffer.from('dreams'))
  const other = await consumer.call<Got>('get', made.segid)
  assert.equal(text(await consumer.call('read', await consumer.call('attach', other.handle), 0, 6)), 'dreams')
  const permitLive = await consumer.call<Got>('get', madeLive.segid)
  await assert.rejects(consumer.call('attach', permitLive.handle), { code: 'ETIMEDOUT' })
  owner.child.kill('SIGCONT')
  await consumer.call('attach', permitLive.handle)
  assert.equal(text(await owner.call('read', region, 0, 6)), 'dreams')
})

test('a stopped attacher sees nothing of the memory after remove, and is revoked when it goes on', async (t) => {
  const { runtimeDir } = await startService(t)
  const owner = await startActor(t, { runtimeDir })
  const consumer = await startActor(t, { runtimeDir })
  for (const kind of ['allocate', 'wasm']) {
    const memory = await owner.call<number>(kind, kind === 'wasm' ? 1 : 65_536)
    await owner.call('write', memory, 5000, Buffer.from('before'))
    const made = await owner.call<Made>('make', memory)
    const permit = await consumer.call<Got>('get', made.segid, 'readwrite')
    const attachment = await consumer.call<number>('attach', permit.handle)
    const address = await consumer.call<bigint>('addressOf', attachment)
    assert.equal(text(await consumer.call('read', attachment, 5000, 6)), 'before')
    await stop(consumer.pid)
    await owner.call('remove', made.handle)
    await owner.call('write', memory, 5000, Buffer.from('after!'))
    assert.equal(text(await owner.call('peek', consumer.pid, address + 5000n, 6)), 'before')
    assert.equal(text(await owner.call('read', memory, 5000, 6)), 'after!')
    consumer.child.kill('SIGCONT')
    await until(() => consumer.events.includes(`revoked:${attachment}:removed`))
    await until(() => consumer.events.includes('reconnected'))
    consumer.events.length = 0
    // What was moved can be offered again.
    const again = await owner.call<Made>('make', memory)
    const anew = await consumer.call<Got>('get', again.segid)
    const second = await consumer.call<number>('attach', anew.handle)
    assert.equal(text(await consumer.call('read', second, 5000, 6)), 'after!')
  }
})

test('an owner whose JavaScript is blocked: others attach its memory and its death is seen', async (t) => {
  const { runtimeDir } = await startService(t)
  const owner = await startActor(t, { runtimeDir })
  const consumer = await startActor(t, { runtimeDir })
  const live = await owner.call<number>('wasm', 4)
  const { segid } = await owner.call<Made>('make', live)
  const spinning = owner.call<number>('spin', live, 70_000, 0)
  await until(() => owner.events.includes('spinning'))
  const permit = await consumer.call<Got>('get', segid, 'readwrite')
  const attachment = await consumer.call<number>('attach', permit.handle)
  await consumer.call('write', attachment, 70_000, Uint8Array.of(1))
  assert.ok((await spinning) >= 0)
})

test('a consumer whose JavaScript is blocked is revoked all the same, and its loop goes on over zeros', async (t) => {
  const { runtimeDir } = await startService(t)
  const owner = await startActor(t, { runtimeDir })
  const consumer = await startActor(t, { runtimeDir })
  const region = await owner.call<number>('allocate', 4096)
  await owner.call('write', region, 0, Uint8Array.of(7))
  const made = await owner.call<Made>('make', region)
  const permit = await consumer.call<Got>('get', made.segid, 'readwrite')
  const attachment = await consumer.call<number>('attach', permit.handle)
  const spinning = consumer.call<number>('spin', attachment, 0, 7)
  await until(() => consumer.events.includes('spinning'))
  await owner.call('remove', made.handle)
  // Only the zero page ends the loop: nobody writes another value.
  await spinning
  assert.equal(text(await owner.call('read', region, 0, 1)), '\u0007')
  await until(() => consumer.events.includes(`revoked:${attachment}:removed`))
  assert.equal(await consumer.call('byteLength', attachment), 0)
})

test('attach during remove gives the memory and revokes it, or ENOENT, and never keeps it', async (t) => {
  const { runtimeDir } = await startService(t)
  const owner = await startActor(t, { runtimeDir })
  const consumer = await startActor(t, { runtimeDir })
  const outcomes = { attached: 0, refused: 0 }
  for (let round = 0; round < 40; round += 1) {
    const memory = await owner.call<number>(round % 2 === 0 ? 'allocate' : 'wasm', round % 2 === 0 ? 4096 : 1)
    const made = await owner.call<Made>('make', memory)
    const permit = await consumer.call<Got>('get', made.segid, 'readwrite')
    const attaching = consumer.call<number>('attach', permit.handle)
    const removing = owner.call('remove', made.handle)
    const [attached] = await Promise.allSettled([attaching, removing])
    await removing
    if (attached.status === 'rejected') {
      assert.equal(attached.reason.code, 'ENOENT')
      outcomes.refused += 1
    } else {
      await consumer.call('untilRevoked', attached.value)
      assert.equal(await consumer.call('byteLength', attached.value), 0)
      outcomes.attached += 1
    }
    await consumer.call('release', permit.handle)
  }
  t.diagnostic(`${outcomes.attached} attached and were revoked, ${outcomes.refused} were refused`)
  assert.equal(await consumer.call('mapped', 'memfd:xpmem'), 0)
})

test('two removes at once: one succeeds, the other is ENOENT', async (t) => {
  const { runtimeDir } = await startService(t)
  const owner = await startActor(t, { runtimeDir })
  const region = await owner.call<number>('allocate', 4096)
  const { segid } = await owner.call<Made>('make', region)
  const both = await Promise.allSettled([owner.call('removeSegid', segid), owner.call('removeSegid', segid)])
  assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  const refused = both.find((outcome) => outcome.status === 'rejected')
  assert.equal((refused as PromiseRejectedResult).reason.code, 'ENOENT')
})

test('an owner that ends by itself is an owner that is gone: revoked, or kept where that was asked for', async (t) => {
  const { runtimeDir } = await startService(t)
  for (const way of ['exit', 'throw']) {
    const owner = await startActor(t, { runtimeDir })
    const consumer = await startActor(t, { runtimeDir })
    const region = await owner.call<number>('allocate', 4096)
    await owner.call('write', region, 0, Buffer.from('left'))
    const { segid } = await owner.call<Made>('make', region)
    const permit = await consumer.call<Got>('get', segid)
    const strict = await consumer.call<number>('attach', permit.handle)
    const kept = await consumer.call<number>('attach', permit.handle, { onOwnerExit: 'keep' })
    owner.call(way).catch(() => {})
    await owner.exited
    await until(() => consumer.events.includes(`revoked:${strict}:owner-exit`))
    assert.equal(text(await consumer.call('read', kept, 0, 4)), 'left')
  }
})
