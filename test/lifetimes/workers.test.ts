import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { Partition } from '../../src/index.js'
import { startService } from '../support/service.js'
import { until } from '../support/until.js'

const memfds = () =>
  readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes('/memfd:xpmem')).length

function startWorker(workerData: object): Worker {
  return new Worker(new URL('../support/worker.js', import.meta.url), { workerData })
}

test('a worker attaches with the apid of the thread that got the permit', async (t) => {
  const { runtimeDir } = await startService(t)
  await using partition = await Partition.open({ runtimeDir, autoStart: false })
  const region = partition.allocate(4096)
  await partition.make(region, { name: 'for-workers' })
  const permit = await partition.get('for-workers', 'readwrite')
  const worker = startWorker({ runtimeDir, apid: permit.apid, write: 'from a worker' })
  const exited = once(worker, 'exit')
  assert.deepEqual(await once(worker, 'message'), ['written'])
  assert.equal(Buffer.from(region, 0, 13).toString(), 'from a worker')
  const revoked = once(worker, 'message')
  await permit.release()
  assert.deepEqual(await revoked, ['revoked'])
  await exited
})

test('workers that are terminated while they share leave no mapping and no permit', async (t) => {
  const { runtimeDir } = await startService(t)
  await using partition = await Partition.open({ runtimeDir, autoStart: false })
  const region = partition.allocate(4096)
  await partition.make(region, { name: 'terminated' })
  const before = memfds()
  for (let round = 0; round < 5; round += 1) {
    const worker = startWorker({ runtimeDir, name: 'terminated', make: true })
    assert.deepEqual(await once(worker, 'message'), ['attached'])
    assert.ok(memfds() > before)
    await worker.terminate()
  }
  await until(() => memfds() === before)
  await until(async () => {
    const segments = await partition.list()
    return segments.length === 1 && segments[0]?.permits === 0
  })
})

test('shared WebAssembly memory is moved in place while workers count in it, and no count is lost', async (t) => {
  const { runtimeDir } = await startService(t)
  await using partition = await Partition.open({ runtimeDir, autoStart: false })
  const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: SharedMemory } }).WebAssembly
  const bytes = 64 * 1024 * 1024
  const memory = new Memory({ initial: bytes / 65_536, maximum: bytes / 65_536, shared: true })
  const stop = new Int32Array(new SharedArrayBuffer(4))
  const workers = [1, 2].map((seed) => startWorker({ count: memory.buffer, stop, seed }))
  // A failure must not leave them counting, which would keep the process.
  t.after(() => Promise.all(workers.map((worker) => worker.terminate())))
  assert.deepEqual(await Promise.all(workers.map((worker) => once(worker, 'message'))), [['counting'], ['counting']])
  const segment = await partition.make(memory)
  const permit = await partition.get(segment.segid)
  const counted = Promise.all(workers.map((worker) => once(worker, 'message')))
  const attachment = await permit.attach()
  Atomics.store(stop, 0, 1)
  const sums = (await counted).map(([sum]) => sum as number)
  const total = new Int32Array(attachment.buffer).reduce((sum, value) => sum + value, 0)
  assert.equal(
    total,
    sums.reduce((sum, value) => sum + value, 0),
  )
  assert.equal(
    new Int32Array(memory.buffer).reduce((sum, value) => sum + value, 0),
    total,
  )
})

type SharedMemory = new (options: { initial: number; maximum: number; shared: true }) => { buffer: SharedArrayBuffer }
