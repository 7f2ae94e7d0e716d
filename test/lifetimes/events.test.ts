import assert from 'node:assert/strict'
import diagnostics from 'node:diagnostics_channel'
import { once } from 'node:events'
import { test } from 'node:test'
import { type Attachment, Partition } from '../../src/index.js'
import { startActor } from '../support/actor.js'
import { runtimeDirectory, startService } from '../support/service.js'

const names = ['make', 'get', 'attach', 'detach', 'release', 'remove', 'revoked', 'disconnected', 'reconnected']

test('every call and event is told on its diagnostics channel, once and in order', async (t) => {
  const { runtimeDir } = await startService(t)
  const told: string[] = []
  const listeners = names.map((name) => {
    const listener = (message: unknown) => {
      assert.equal(typeof message, 'object')
      told.push(name)
    }
    diagnostics.subscribe(`xpmem:${name}`, listener)
    return { name, listener }
  })
  t.after(() => {
    for (const { name, listener } of listeners) diagnostics.unsubscribe(`xpmem:${name}`, listener)
  })
  await using partition = await Partition.open({ runtimeDir, autoStart: false })
  const segment = await partition.make(partition.allocate(4096))
  const permit = await partition.get(segment.segid)
  const detached = await permit.attach()
  detached.detach()
  detached.detach()
  const revoked = await permit.attach()
  const seen = once(revoked, 'revoked')
  await segment.remove()
  await seen
  await permit.release()
  const last = told.splice(-3).sort()
  assert.deepEqual(told, ['make', 'get', 'attach', 'detach', 'attach'])
  assert.deepEqual(last, ['release', 'remove', 'revoked'])
})

test('a partition tells when its service goes and when it is back', async (t) => {
  const runtimeDir = runtimeDirectory(t)
  const service = await startService(t, { runtimeDir })
  await using partition = await Partition.open({ runtimeDir, autoStart: false })
  // An offer keeps the process, and with it the wait for the next service, alive.
  await partition.make(partition.allocate(4096))
  const gone = once(partition, 'disconnected')
  await service.end('SIGKILL')
  await gone
  assert.equal(partition.connected, false)
  const back = once(partition, 'reconnected')
  await startService(t, { runtimeDir })
  await back
  assert.equal(partition.connected, true)
})

test('objects are disposable: each ends with its block', async (t) => {
  const { runtimeDir } = await startService(t)
  await using partition = await Partition.open({ runtimeDir, autoStart: false })
  const watcher = await startActor(t, { runtimeDir })
  const counts = async () => {
    const segments = await watcher.call<{ permits: number; attachments: number }[]>('list')
    return segments.map(({ permits, attachments }) => [permits, attachments])
  }
  let attached: Attachment | undefined
  {
    await using segment = await partition.make(partition.allocate(4096))
    {
      await using permit = await partition.get(segment.segid)
      {
        using attachment = await permit.attach()
        attached = attachment
        assert.deepEqual(await counts(), [[1, 1]])
      }
      assert.equal(attached.buffer.byteLength, 0)
      assert.deepEqual(await counts(), [[1, 0]])
    }
    assert.deepEqual(await counts(), [[0, 0]])
  }
  assert.deepEqual(await counts(), [])
})

test('an open partition that offers nothing does not keep its process alive', async (t) => {
  const { runtimeDir } = await startService(t)
  const consumer = await startActor(t, { runtimeDir })
  const region = await consumer.call<number>('allocate', 4096)
  const { handle } = await consumer.call<{ handle: number }>('make', region)
  await consumer.call('remove', handle)
  consumer.child.disconnect()
  assert.deepEqual(await consumer.exited, [0, null])
})
