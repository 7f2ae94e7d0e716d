/** A process that offers memory, told what by the benchmark. */
import { Partition, type Segment } from '../../src/index.js'
import { kernel } from '../../src/kernel/index.js'
import { serveCalls } from '../support/calls.js'
import { sum } from '../support/sum.js'
import { takeTurns } from '../support/turn.js'

interface Offered {
  readonly segment: Segment
  /** Held as long as the segment is offered. */
  readonly memory: readonly ArrayBuffer[]
}

const offered = new Map<bigint, Offered>()
let partition: Partition

function collect(): void {
  const { gc } = globalThis as unknown as { gc(): void }
  gc()
}

function keep(segment: Segment, memory: readonly ArrayBuffer[]): bigint {
  offered.set(segment.segid, { segment, memory })
  return segment.segid
}

const maxAdjacentTries = 8

/** Two regions of that length that lie side by side, and where the lower begins. */
function allocatePair(length: number): { address: bigint; memory: ArrayBuffer[] } {
  const byAddress = new Map<bigint, ArrayBuffer>()
  for (let tries = 0; tries < maxAdjacentTries; tries += 1) {
    const fresh = partition.allocate(length)
    const address = kernel.addressOf(fresh)
    const below = byAddress.get(address - BigInt(length))
    const above = byAddress.get(address + BigInt(length))
    if (below !== undefined) return { address: address - BigInt(length), memory: [below, fresh] }
    if (above !== undefined) return { address, memory: [fresh, above] }
    byAddress.set(address, fresh)
  }
  throw new Error('no two regions lay side by side')
}

let own: Float64Array | undefined

function seconds(memory: ArrayBuffer, work: (numbers: Float64Array) => void): number {
  const numbers = new Float64Array(memory)
  const start = performance.now()
  work(numbers)
  return (performance.now() - start) / 1_000
}

serveCalls({
  async open(runtimeDir: string, name = 'default') {
    partition = await Partition.open({ runtimeDir, partition: name, autoStart: false })
  },
  /** A segment of fresh memory: sparse, or with a 1 in every 8 bytes, as a number. */
  async offer(length: number, populated: boolean) {
    const memory = partition.allocate(length)
    if (populated) new Float64Array(memory).fill(1)
    return keep(await partition.make(memory), [memory])
  },
  /** A sparse segment that no single ArrayBuffer of Node.js 20 can cover. */
  async offerPair(length: number) {
    const { address, memory } = allocatePair(length)
    return keep(await partition.make({ address, length: 2 * length }), memory)
  },
  /** That many segments of one page. */
  async offerPages(count: number) {
    const memory = partition.allocate(count * kernel.pageSize)
    const start = kernel.addressOf(memory)
    for (let page = 0; page < count; page += 1) {
      const address = start + BigInt(page * kernel.pageSize)
      keep(await partition.make({ address, length: kernel.pageSize }), [memory])
    }
  },
  /** Takes the odd turns with a segment, which another one says. */
  takeTurns(segid: bigint, whose: bigint, count: number): number[] {
    const words = (of: bigint) => new Int32Array(offered.get(of)?.memory[0] as ArrayBuffer)
    return takeTurns(words(segid), words(whose), 1, count)
  },
  /** Seconds to load from every page. */
  readAll(segid: bigint): number {
    return seconds(offered.get(segid)?.memory[0] as ArrayBuffer, (numbers) => sum(numbers))
  },
  /** The same of private memory of that length. */
  readPrivate(length: number): number {
    own ??= new Float64Array(length / 8).fill(1)
    return seconds(own.buffer as ArrayBuffer, (numbers) => sum(numbers))
  },
  /** Seconds a page for the first store to each. */
  writeAll(segid: bigint): number {
    const memory = offered.get(segid)?.memory[0] as ArrayBuffer
    const pages = memory.byteLength / kernel.pageSize
    const step = kernel.pageSize / 8
    const took = seconds(memory, (numbers) => {
      for (let page = 0; page < pages; page += 1) numbers[page * step] = 2
    })
    return took / pages
  },
  async remove(segid: bigint) {
    await offered.get(segid)?.segment.remove()
    offered.delete(segid)
    collect()
  },
})
