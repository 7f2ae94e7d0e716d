import { setTimeout as sleep } from 'node:timers/promises'
import { counterSum, firstSum } from '../support/counters.js'
import { LimitProgram } from '../support/limit.js'
import { interleave, pairsOf } from '../support/measure.js'
import { Peer } from '../support/peer.js'
import type { Row } from '../support/row.js'
import { Scope } from '../support/scope.js'
import { type BenchService, openPartition, startService } from '../support/service.js'
import type { Suite } from '../support/suite.js'

const bytes = 1024 * 1024 * 1024
const writers = 2
const rounds = 4
/** How long the writers go on after the move, in the memory's new place. */
const goOnMs = 100

/** Throws if a write is missing from what the owner or the attacher sees. */
function check(writes: number, ...sums: number[]): void {
  const expected = firstSum(bytes) + writes
  for (const sum of sums) if (sum !== expected) throw new Error(`${expected - sum} of ${writes} writes were lost`)
}

/** Seconds that the first attach of 1 GiB takes, which moves all of it. */
async function moveOnce(service: BenchService, suiteScope: Scope): Promise<number> {
  const scope = new Scope()
  suiteScope.defer(() => scope.close())
  const owner = new Peer('live-owner', scope)
  const segid = await owner.call<bigint>('start', service.runtimeDir, bytes, writers)
  const partition = await openPartition(service, scope)
  const permit = await partition.get(segid)
  const start = performance.now()
  const attachment = await permit.attach()
  const seconds = (performance.now() - start) / 1_000
  await sleep(goOnMs)
  const { writes, sum } = await owner.call<{ writes: number; sum: number }>('stop')
  check(writes, sum, counterSum(new Int32Array(attachment.buffer)))
  await scope.close()
  return seconds
}

export const live: Suite = {
  name: 'live',
  about: 'share 1 GiB of memory that exists and two threads write to, against memcpy into a fresh memfd',
  async run(scope): Promise<Row[]> {
    const service = await startService(scope)
    const program = new LimitProgram('live', scope)
    const rate = async (seconds: Promise<number>) => bytes / (await seconds)
    const [node = [], core = [], idleCopy = [], busyCopy = []] = await interleave(rounds, [
      () => rate(moveOnce(service, scope)),
      () => rate(program.seconds('core', bytes, writers)),
      () => rate(program.seconds('memcpy', bytes, 0)),
      () => rate(program.seconds('memcpy', bytes, writers)),
    ])
    const unit = 'bytes/s'
    const name = `live sharing of 1 GiB, ${writers} writers`
    const target = { of: 'ratio', least: 0.7 } as const
    return [
      { name: `${name}, Node owner / memcpy, no writers`, unit, ...pairsOf(node, idleCopy), target },
      { name: `${name}, Node owner / memcpy, ${writers} writers`, unit, ...pairsOf(node, busyCopy) },
      { name: `${name}, C core / memcpy, no writers`, unit, ...pairsOf(core, idleCopy) },
      { name: `${name}, C core / memcpy, ${writers} writers`, unit, ...pairsOf(core, busyCopy) },
    ]
  },
}
