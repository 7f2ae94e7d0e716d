/** A process that offers WebAssembly memory which two of its threads write to all the while. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { Partition } from '../../src/index.js'
import { serveCalls } from '../support/calls.js'
import { counterSum, firstByte } from '../support/counters.js'

/** The global, whose types are not everywhere. */
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: { Memory: new (options: { initial: number; maximum: number; shared: true }) => MemoryObject }
}

interface MemoryObject {
  readonly buffer: SharedArrayBuffer
}

const wasmPage = 65_536
const stopFlag = new Int32Array(new SharedArrayBuffer(4))
const writers: Worker[] = []
let counters: Int32Array

serveCalls({
  /** Offers that much memory, with its writers at work; the segid. */
  async start(runtimeDir: string, length: number, writerCount: number) {
    const partition = await Partition.open({ runtimeDir, partition: 'default', autoStart: false })
    const pages = length / wasmPage
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true })
    counters = new Int32Array(memory.buffer)
    new Uint8Array(memory.buffer).fill(firstByte)
    for (let seed = 1; seed <= writerCount; seed += 1) {
      const program = new URL('./live-writer.js', import.meta.url)
      const writer = new Worker(program, { workerData: { counters, stopFlag, seed } })
      await once(writer, 'message')
      writers.push(writer)
    }
    const segment = await partition.make(memory)
    return segment.segid
  },
  /** Ends the writers: how often they wrote, and the sum of the counters as their owner sees it. */
  async stop() {
    Atomics.store(stopFlag, 0, 1)
    const counts = await Promise.all(writers.map(async (writer) => (await once(writer, 'message'))[0] as number))
    return { writes: counts.reduce((sum, count) => sum + count, 0), sum: counterSum(counters) }
  },
})
