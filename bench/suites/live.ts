import { setTimeout as sleep } from 'node:timers/promises'
import { counterSum, firstSum } from '../support/counters.js'
import { LimitProgram } from '../support/limit.js'
import { alternate } from '../support/measure.js'
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
    const moved = () => rate(moveOnce(service, scope))
    const copied = (underWriters: number) => () => rate(program.seconds('memcpy', bytes, underWriters))
    const core = () => rate(program.seconds('core', bytes, writers))
    const unit = 'bytes/s'
    const name = 'live sharing of 1 GiB, 2 writers'
    return [
      {
        name: `${name}, Node owner / memcpy, no writers`,
        unit,
        ...(await alternate(rounds, moved, copied(0))),
        target: { of: 'ratio', least: 0.7 },
      },
      { name: `${name}, Node owner / memcpy, 2 writers`, unit, ...(await alternate(rounds, moved, copied(writers))) },
      { name: `${name}, C core / memcpy, no writers`, unit, ...(await alternate(rounds, core, copied(0))) },
      { name: `${name}, C core / memcpy, 2 writers`, unit, ...(await alternate(rounds, core, copied(writers))) },
    ]
  },
}
