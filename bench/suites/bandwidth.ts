import type { Partition } from '../../src/index.js'
import { interleave, pairsOf, type Round } from '../support/measure.js'
import { Peer } from '../support/peer.js'
import type { Row } from '../support/row.js'
import { openPartition, startService } from '../support/service.js'
import type { Suite } from '../support/suite.js'
import { sum } from '../support/sum.js'

const bytes = 256 * 1024 * 1024
const rounds = 9
/** Where the pages happen to lie tells in the figures: several placements count. */
const placements = 4

function rate(work: () => void): Round {
  return async () => {
    const start = performance.now()
    work()
    return bytes / ((performance.now() - start) / 1_000)
  }
}

function reading(numbers: Float64Array): Round {
  return rate(() => {
    if (sum(numbers) !== numbers.length) throw new Error('the memory does not hold what was written to it')
  })
}

function filling(numbers: Float64Array): Round {
  return rate(() => numbers.fill(1))
}

/** Rounds of reading and writing a fresh segment and fresh private memory. */
async function measurePlacement(partition: Partition, owner: Peer): Promise<number[][]> {
  const segid = await owner.call<bigint>('offer', bytes, true)
  const permit = await partition.get(segid, 'readwrite')
  const attached = new Float64Array((await permit.attach()).buffer)
  const own = new Float64Array(bytes / attached.BYTES_PER_ELEMENT).fill(1)
  // It stays attached: where an ArrayBuffer was detached before, V8 makes slower code for all of them.
  return interleave(rounds, [reading(attached), reading(own), filling(attached), filling(own)])
}

export const bandwidth: Suite = {
  name: 'bandwidth',
  about: 'loads and stores in attached memory against private memory',
  async run(scope): Promise<Row[]> {
    const service = await startService(scope)
    const owner = new Peer('owner', scope)
    await owner.call('open', service.runtimeDir)
    const partition = await openPartition(service, scope)
    const all: number[][] = [[], [], [], []]
    for (let placement = 0; placement < placements; placement += 1) {
      const measured = await measurePlacement(partition, owner)
      for (const [index, numbers] of measured.entries()) all[index]?.push(...numbers)
    }
    const [read = [], ownRead = [], write = [], ownWrite = []] = all
    const target = { of: 'ratio', least: 0.97 } as const
    return [
      { name: 'read attached memory / private memory', unit: 'bytes/s', ...pairsOf(read, ownRead), target },
      { name: 'write attached memory / private memory', unit: 'bytes/s', ...pairsOf(write, ownWrite), target },
    ]
  },
}
