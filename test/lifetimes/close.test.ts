import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { Partition } from '../../src/index.js'
import type { Made } from '../conformance/face.js'
import { startActor } from '../support/actor.js'
import { runtimeDirectory, startService } from '../support/service.js'
import { stop } from '../support/stop.js'
import { until } from '../support/until.js'

test('two closes at once are one, and leave other partitions of the thread alone', async (t) => {
  const { runtimeDir } = await startService(t)
  const options = { runtimeDir, autoStart: false }
  await using other = await Partition.open(options)
  const kept = await other.make(other.allocate(4096))
  const closing = await Partition.open(options)
  await closing.make(closing.allocate(4096))
  await Promise.all([closing.close(), closing.close()])
  await closing.close()
  const permit = await other.get(kept.segid)
  using attachment = await permit.attach()
  assert.equal(attachment.buffer.byteLength, 4096)
  assert.equal((await other.list()).length, 1)
})

test('close waits for what is being made, removes it, and takes no new calls', async (t) => {
  const { runtimeDir } = await startService(t)
  const watcher = await startActor(t, { runtimeDir })
  const partition = await Partition.open({ runtimeDir, autoStart: false })
  const makes = Array.from({ length: 50 }, (_, index) =>
    partition.make(partition.allocate(4096), { name: `n${index}` }),
  )
  const settled = Promise.allSettled(makes)
  const closed = partition.close()
  await assert.rejects(partition.make(partition.allocate(4096)), { code: 'ECANCELED' })
  await closed
  await settled
  assert.deepEqual(await watcher.call('list'), [])
})

test('an owner whose name was taken while it was away comes back without the name, and with its segid', async (t) => {
  const runtimeDir = runtimeDirectory(t)
  const service = await startService(t, { runtimeDir })
  const owner = await startActor(t, { runtimeDir })
  const first = await owner.call<Made>('make', await owner.call<number>('allocate', 4096), { name: 'wanted' })
  await stop(owner.pid)
  await service.end('SIGKILL')
  await startService(t, { runtimeDir })
  const other = await startActor(t, { runtimeDir })
  const second = await other.call<Made>('make', await other.call<number>('allocate', 4096), { name: 'wanted' })
  owner.child.kill('SIGCONT')
  await until(() => owner.events.includes('reconnected'))
  const listed = await owner.call<{ segid: string; name: string }[]>('list')
  assert.deepEqual(
    listed.map(({ segid, name }) => [BigInt(segid), name]),
    [
      [first.segid, ''],
      [second.segid, 'wanted'],
    ],
  )
})

test('a thread that waits on a futex without a limit can be terminated', async () => {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads')
     import(${JSON.stringify(new URL('../../src/index.js', import.meta.url).href)}).then(({ wait }) => {
       parentPort.postMessage('waiting')
       wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
     })`,
    { eval: true },
  )
  await once(worker, 'message')
  assert.equal(await worker.terminate(), 1)
})
