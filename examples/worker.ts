/**
 * A permit belongs to the process: a worker attaches with the apid that the main thread got. Each
 * thread has a mapping and an ArrayBuffer of its own over the same memory.
 * Run it: node dist/examples/worker.js
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { isMainThread, Worker, workerData } from 'node:worker_threads'
import { Partition } from 'xpmem'

const workers = 3

async function main(): Promise<void> {
  await using partition = await Partition.open()
  const region = partition.allocate(4096)
  const segment = await partition.make(region)
  await using permit = await partition.get(segment.segid, 'readwrite')

  const exits = Array.from({ length: workers }, async (_, number) => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { apid: permit.apid, number } })
    const [code] = await once(worker, 'exit')
    assert.equal(code, 0)
  })
  await Promise.all(exits)

  const counters = new Int32Array(region)
  console.log(`the workers counted to ${counters[0]} together`)
  assert.equal(counters[0], workers * 1000)
}

async function work(apid: bigint, number: number): Promise<void> {
  await using partition = await Partition.open()
  using attachment = await partition.attach(apid)
  const counters = new Int32Array(attachment.buffer)
  for (let turn = 0; turn < 1000; turn += 1) Atomics.add(counters, 0, 1)
  console.log(`worker ${number} is done`)
}

await (isMainThread ? main() : work(workerData.apid, workerData.number))
