import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Partition } from '../../src/index.js'
import { slope } from '../support/measure.js'
import { Peer } from '../support/peer.js'
import type { Row } from '../support/row.js'
import { type BenchService, openPartition, startService } from '../support/service.js'
import type { Suite } from '../support/suite.js'

const page = 4_096
/** Half of them from each of two owners: one process may have only so many. */
const segments = 3_200
const attachments = 5_000
const points = 8
const warmUps = 15_000
const settleMs = 300

function residentBytes({ pid }: BenchService): number {
  const [, kib = '0'] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kib) * 1024
}

async function settled(service: BenchService): Promise<number> {
  await sleep(settleMs)
  return residentBytes(service)
}

/** The service's growth in bytes for each thing that `add` adds, by the slope over several points. */
async function growth(service: BenchService, count: number, add: (count: number) => Promise<void>): Promise<number> {
  const step = count / points
  const measured: [number, number][] = [[0, await settled(service)]]
  for (let point = 1; point <= points; point += 1) {
    await add(step)
    measured.push([point * step, await settled(service)])
  }
  return slope(measured)
}

/** Requests that leave nothing behind, until the service's heap has the size that its garbage needs. */
async function warmUp(partition: Partition, segid: bigint): Promise<void> {
  for (let index = 0; index < warmUps; index += 1) await (await partition.get(segid)).release()
}

async function times(count: number, work: () => Promise<unknown>): Promise<void> {
  for (let index = 0; index < count; index += 1) await work()
}

export const serviceMemory: Suite = {
  name: 'service-memory',
  about: "the service's resident memory: at rest, a segment, an attachment",
  async run(scope): Promise<Row[]> {
    const service = await startService(scope)
    const atRest = await settled(service)
    const owner = new Peer('owner', scope)
    const other = new Peer('owner', scope)
    for (const peer of [owner, other]) await peer.call('open', service.runtimeDir)
    const segid = await owner.call<bigint>('offer', page, true)
    const partition = await openPartition(service, scope)
    await warmUp(partition, segid)
    const perSegment = await growth(service, segments, async (count) => {
      for (const peer of [owner, other]) await peer.call('offerPages', count / 2)
    })
    const permit = await partition.get(segid)
    const perAttachment = await growth(service, attachments, (count) => times(count, () => permit.attach()))
    const permits: unknown[] = []
    const perPermit = await growth(service, attachments, (count) =>
      times(count, async () => {
        const own = await partition.get(segid)
        permits.push(own, await own.attach())
      }),
    )
    const unit = 'bytes'
    return [
      { name: 'service at rest, resident memory', unit, value: atRest, target: { of: 'value', most: 60 << 20 } },
      { name: 'service, a segment', unit, value: perSegment, target: { of: 'value', most: 2_048 } },
      { name: 'service, an attachment', unit, value: perAttachment, target: { of: 'value', most: 1_024 } },
      { name: 'service, a permit with an attachment', unit, value: perPermit },
    ]
  },
}
