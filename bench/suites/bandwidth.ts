import { alternate, type Round } from '../support/measure.js'
import { Peer } from '../support/peer.js'
import type { Row } from '../support/row.js'
import { openPartition, startService } from '../support/service.js'
import type { Suite } from '../support/suite.js'

const bytes = 256 * 1024 * 1024
const rounds = 15

/** Four sums at a time: one would measure the latency of an addition. */
function sum(numbers: Float64Array): number {
  let [a, b, c, d] = [0, 0, 0, 0]
  for (let index = 0; index < numbers.length; index += 4) {
    a += numbers[index] as number
    b += numbers[index + 1] as number
    c += numbers[index + 2] as number
    d += numbers[index + 3] as number
  }
  return a + b + c + d
}

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

export const bandwidth: Suite = {
  name: 'bandwidth',
  about: 'loads and stores in attached memory against private memory',
  async run(scope): Promise<Row[]> {
    const service = await startService(scope)
    const owner = new Peer('owner', scope)
    await owner.call('open', service.runtimeDir)
    const segid = await owner.call<bigint>('offer', bytes, true)
    const partition = await openPartition(service, scope)
    const permit = await partition.get(segid, 'readwrite')
    const attached = new Float64Array((await permit.attach()).buffer)
    const own = new Float64Array(bytes / 8).fill(1)
    const read = await alternate(rounds, reading(attached), reading(own))
    const fill = (numbers: Float64Array) => rate(() => numbers.fill(1))
    const write = await alternate(rounds, fill(attached), fill(own))
    const target = { of: 'ratio', least: 0.97 } as const
    return [
      { name: 'read attached memory / private memory', unit: 'bytes/s', ...read, target },
      { name: 'write attached memory / private memory', unit: 'bytes/s', ...write, target },
    ]
  },
}
