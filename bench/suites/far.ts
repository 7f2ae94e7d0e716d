import type { Partition } from '../../src/index.js'
import { attachFresh, openPlace, type Place, placeOf } from '../support/far-place.js'
import { LimitProgram } from '../support/limit.js'
import { alternate, interleave, median, pairsOf } from '../support/measure.js'
import type { Peer } from '../support/peer.js'
import { pinApart, pinToOneProcessor } from '../support/pin.js'
import type { Row } from '../support/row.js'
import type { Scope } from '../support/scope.js'
import { type BenchService, openPartition, startPartitions } from '../support/service.js'
import type { Suite } from '../support/suite.js'
import { sum } from '../support/sum.js'
import { takeTurns } from '../support/turn.js'
import { measureCrowd, measureFaults, timeFaults } from './far-faults.js'
import { measureTracked } from './far-tracked.js'

const page = 4_096
const streamBytes = 256 * 1024 * 1024
const warmBytes = 64 * 1024 * 1024
const turns = 2_000
const rounds = 5
const warmUps = 6

/** Two partitions, an owner in one and this process in the other, which is a client of both. */
interface Court {
  readonly home: BenchService
  readonly owner: Peer
  readonly partition: Partition
  readonly atHome: Partition
}

/** The services do not keep a page for who just got it: what is measured is how it goes over. */
async function openCourt(scope: Scope): Promise<Court> {
  const services = await startPartitions(scope, ['--hold', '0'])
  const place = await placeOf(scope, services)
  return { ...place, home: services.home, atHome: await openPartition(services.home, scope) }
}

/**
 * Seconds for a load and a store of a page that the other partition wrote last, on either side in turn.
 * Who waits for its turn sleeps, since two processors have no room for two that spin and two services.
 */
async function timeTurns({ owner, partition, atHome }: Court): Promise<number> {
  const [segid, whose] = [
    await owner.call<bigint>('offer', page, false),
    await owner.call<bigint>('offer', page, false),
  ]
  const words = new Int32Array((await (await partition.get(segid, 'readwrite')).attach()).buffer)
  const flag = new Int32Array((await (await atHome.get(whose, 'readwrite')).attach()).buffer)
  const theirs = owner.call<number[]>('takeTurns', segid, whose, turns)
  await new Promise(setImmediate)
  const times = takeTurns(words, flag, 0, turns)
  times.push(...(await theirs))
  for (const ended of [segid, whose]) await owner.call('remove', ended)
  return median(times)
}

function turnRow(where: string, taken: number[], roundTrips: number[]): Omit<Row, 'target'> {
  const name = `write-ownership ping-pong, a turn, ${where} / two raw round trips`
  return { name, unit: 'seconds', ...pairsOf(taken, roundTrips) }
}

async function measurePingPong(scope: Scope, far: LimitProgram, where: string): Promise<Row[]> {
  const court = await openCourt(scope)
  const [taken = [], roundTrips = [], faults = []] = await interleave(rounds, [
    () => timeTurns(court),
    async () => 2 * (await far.seconds('round-trip', turns)),
    async () => (await far.allSeconds('fault', turns))[0] as number,
  ])
  return [
    { ...turnRow(where, taken, roundTrips), target: { of: 'ratio', most: 2 } },
    {
      name: `a far read fault of the C pager, ${where} / two raw round trips`,
      unit: 'seconds',
      ...pairsOf(faults, roundTrips),
    },
  ]
}

/** With each partition on a processor of its own, and each end of the raw connection. */
async function measurePingPongApart(scope: Scope): Promise<Row> {
  const putAway = pinApart(scope)
  const court = await openCourt(scope)
  const far = new LimitProgram('far', scope)
  await far.seconds('round-trip', 1)
  putAway([court.home.pid, court.owner.pid, ...far.children])
  const [taken = [], roundTrips = []] = await interleave(rounds, [
    () => timeTurns(court),
    async () => 2 * (await far.seconds('round-trip', turns)),
  ])
  return turnRow('a core each', taken, roundTrips)
}

/** Bytes a second of a read of all pages of fresh memory, in order. */
async function readInOrder(place: Place): Promise<number> {
  const { attachment, end } = await attachFresh(place, streamBytes)
  const numbers = new Float64Array(attachment.buffer)
  const start = performance.now()
  for (let at = 0; at < numbers.length; at += page / 8) if (numbers[at] !== 1) throw new Error('a far page is wrong')
  const rate = streamBytes / ((performance.now() - start) / 1_000)
  await end()
  return rate
}

/** A place whose services have run for as long as V8 needs to compile what they do most. */
async function openWarmPlace(scope: Scope): Promise<Place> {
  const place = await openPlace(scope)
  for (let round = 0; round < warmUps; round += 1) {
    await readInOrder(place)
    await timeFaults(place)
  }
  return place
}

async function measureStream(place: Place, far: LimitProgram, where: string): Promise<Row[]> {
  const [read = [], raw = [], paged = []] = await interleave(rounds, [
    () => readInOrder(place),
    async () => streamBytes / (await far.seconds('stream', streamBytes)),
    async () => streamBytes / (await far.seconds('sequence')),
  ])
  return [
    {
      name: `sequential far read of 256 MiB, ${where} / one raw TCP connection`,
      unit: 'bytes/s',
      ...pairsOf(read, raw),
      target: { of: 'ratio', least: 0.6 },
    },
    {
      name: `the same read with a C pager that asks once, ${where} / one raw TCP connection`,
      unit: 'bytes/s',
      ...pairsOf(paged, raw),
    },
  ]
}

/** Warm far memory here, and the home's own memory while it is all shared. */
async function measureWarm(place: Place, far: LimitProgram): Promise<Row[]> {
  const { attachment, segid, end } = await attachFresh(place, warmBytes)
  const numbers = new Float64Array(attachment.buffer)
  const own = new Float64Array(numbers.length).fill(1)
  const reading = (of: Float64Array) => async () => {
    const start = performance.now()
    if (sum(of) !== of.length) throw new Error('far memory is not what its home wrote')
    return warmBytes / ((performance.now() - start) / 1_000)
  }
  const warm = await alternate(9, reading(numbers), reading(own))
  const { owner } = place
  const [home = [], homeOwn = []] = await interleave(9, [
    async () => warmBytes / (await owner.call<number>('readAll', segid)),
    async () => warmBytes / (await owner.call<number>('readPrivate', warmBytes)),
  ])
  const roundTrip = await far.seconds('round-trip', turns)
  const firstStore = await owner.call<number>('writeAll', segid)
  await end()
  const target = { of: 'ratio', least: 0.97 } as const
  return [
    { name: 'warm far memory, read / private memory', unit: 'bytes/s', ...warm, target },
    {
      name: "home's reads of memory that is all shared / private memory",
      unit: 'bytes/s',
      ...pairsOf(home, homeOwn),
      target,
    },
    {
      name: "home's first store to a shared page / a raw round trip",
      unit: 'seconds',
      value: firstStore,
      limit: roundTrip,
      ratio: firstStore / roundTrip,
    },
  ]
}

function startReader({ far: { runtimeDir, partition } }: Place, scope: Scope): LimitProgram {
  return new LimitProgram('xpmem', scope, { XPMEM_RUNTIME_DIR: runtimeDir, XPMEM_PARTITION: partition })
}

export const far: Suite = {
  name: 'far',
  about: 'memory of another partition over loopback, against raw TCP and a C pager',
  async run(scope): Promise<Row[]> {
    const rows: Row[] = []
    const free = await openWarmPlace(scope)
    const freeLimit = new LimitProgram('far', scope)
    rows.push(...(await measureFaults(free, freeLimit, 'free')))
    rows.push(...(await measureStream(free, freeLimit, 'free')))
    rows.push(...(await measurePingPong(scope, freeLimit, 'free')))
    rows.push(...(await measureWarm(free, freeLimit)))
    rows.push(await measureCrowd(free, startReader(free, scope)))
    rows.push(...(await measureTracked(scope)))
    rows.push(await measurePingPongApart(scope))
    pinToOneProcessor(scope)
    const pinned = await openWarmPlace(scope)
    const pinnedLimit = new LimitProgram('far', scope)
    rows.push(...(await measureFaults(pinned, pinnedLimit, 'one core')))
    rows.push(...(await measureStream(pinned, pinnedLimit, 'one core')))
    rows.push(...(await measurePingPong(scope, pinnedLimit, 'one core')))
    return rows
  },
}
