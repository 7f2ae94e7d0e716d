import { join } from 'node:path'
import { LimitProgram } from '../support/limit.js'
import { alternate } from '../support/measure.js'
import { Peer } from '../support/peer.js'
import { pinToOneProcessor } from '../support/pin.js'
import type { Row } from '../support/row.js'
import { Scope } from '../support/scope.js'
import { startService } from '../support/service.js'
import type { Suite } from '../support/suite.js'

const page = 4_096
const touched = 1024 * 1024 * 1024
const rounds = 7
const operations = 3_000

/** Bytes of a datagram: as many as the longest of a get and a release. */
const datagramBytes = 80

/** Two processes of a C program that is linked to libxpmem: one whose memory the other uses. */
function startPrograms(scope: Scope, runtimeDir: string): { consumer: LimitProgram; owner: LimitProgram } {
  const env = { XPMEM_RUNTIME_DIR: runtimeDir, XPMEM_PARTITION: 'default', BENCH_ECHO: join(runtimeDir, 'echo') }
  return { consumer: new LimitProgram('xpmem', scope, env), owner: new LimitProgram('xpmem', scope, env) }
}

/** What takes round trips, with every process on one processor. */
async function roundTrips(scope: Scope): Promise<Row[]> {
  pinToOneProcessor(scope)
  const { runtimeDir } = await startService(scope)
  const { consumer, owner } = startPrograms(scope, runtimeDir)
  const map = new LimitProgram('map', scope)
  await consumer.answer('listen')
  await new Peer('echo', scope).call('connect', join(runtimeDir, 'echo'))
  const segid = await owner.answer('offer', 16 * page)
  const typescript = new Peer('owner', scope)
  await typescript.call('open', runtimeDir)
  const stable = `${await typescript.call<bigint>('offer', 16 * page, false)}`
  const bare = () => consumer.seconds('round', datagramBytes, operations)
  const barePage = () => map.seconds('bare-page', operations)
  const both = async () => (await bare()) + (await barePage())
  const permit = await alternate(rounds, () => consumer.seconds('permit', segid, operations), bare)
  const kept = await alternate(rounds, () => consumer.seconds('page', stable, operations), barePage)
  const asked = await alternate(rounds, () => consumer.seconds('page', segid, operations), both)
  return [
    {
      name: 'libxpmem: get + release / one bare round trip',
      unit: 'seconds',
      ...permit,
      target: { of: 'ratio', most: 3 },
    },
    {
      name: 'libxpmem: attach + touch + detach a page that cannot move / mmap + touch + munmap',
      unit: 'seconds',
      ...kept,
      target: { of: 'ratio', most: 2 },
    },
    {
      name: 'libxpmem: attach + touch + detach a page of a C program / one bare round trip + mmap + touch + munmap',
      unit: 'seconds',
      ...asked,
      target: { of: 'ratio', most: 3 },
    },
  ]
}

async function firstTouch(scope: Scope): Promise<Row[]> {
  const { runtimeDir } = await startService(scope)
  const { consumer, owner } = startPrograms(scope, runtimeDir)
  const plain = new LimitProgram('touch', scope)
  const segid = await owner.answer('offer', touched)
  const read = await alternate(
    rounds,
    () => consumer.seconds('read', segid, touched),
    () => plain.seconds('read', touched),
  )
  const write = await alternate(
    rounds,
    () => consumer.seconds('write', segid, touched),
    () => plain.seconds('write-populated', touched),
  )
  const target = { of: 'ratio', most: 1.1 } as const
  return [
    { name: 'libxpmem: attach and first touch of 1 GiB, read / plain mmap', unit: 'seconds', ...read, target },
    { name: 'libxpmem: attach and first touch of 1 GiB, write / plain mmap', unit: 'seconds', ...write, target },
  ]
}

export const libxpmem: Suite = {
  name: 'libxpmem',
  about: 'the C interface: get, attach, touch, detach, against the bare system calls',
  async run(scope): Promise<Row[]> {
    const pinned = new Scope()
    scope.defer(() => pinned.close())
    const rows = await roundTrips(pinned)
    await pinned.close()
    return [...rows, ...(await firstTouch(scope))]
  },
}
