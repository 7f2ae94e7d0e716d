import type { Partition } from '../../src/index.js'
import { LimitProgram } from '../support/limit.js'
import { alternate, type Round } from '../support/measure.js'
import { Peer } from '../support/peer.js'
import type { Row } from '../support/row.js'
import { openPartition, startService } from '../support/service.js'
import type { Suite } from '../support/suite.js'

const bytes = 1024 * 1024 * 1024
const page = 4_096
const rounds = 7
const freshRounds = 5

function touchRead(memory: Uint8Array): number {
  let sum = 0
  for (let at = 0; at < memory.length; at += page) sum += memory[at] as number
  return sum
}

function touchWrite(memory: Uint8Array): void {
  for (let at = 0; at < memory.length; at += page) memory[at] = 1
}

/** Seconds from the attach to the last page's touch. */
async function timeTouch(partition: Partition, segid: bigint, touch: (memory: Uint8Array) => unknown): Promise<number> {
  const permit = await partition.get(segid, 'readwrite')
  const start = performance.now()
  const attachment = await permit.attach()
  touch(new Uint8Array(attachment.buffer))
  const seconds = (performance.now() - start) / 1_000
  await permit.release()
  return seconds
}

export const firstTouch: Suite = {
  name: 'first-touch',
  about: 'every page of 1 GiB for the first time, against a plain mapping of a memfd',
  async run(scope): Promise<Row[]> {
    const service = await startService(scope)
    const owner = new Peer('owner', scope)
    await owner.call('open', service.runtimeDir)
    const partition = await openPartition(service, scope)
    const plain = new LimitProgram('touch', scope)
    const limit =
      (word: string): Round =>
      () =>
        plain.seconds(word, bytes)
    const populated = await owner.call<bigint>('offer', bytes, true)
    const read = await alternate(rounds, () => timeTouch(partition, populated, touchRead), limit('read'))
    const write = await alternate(rounds, () => timeTouch(partition, populated, touchWrite), limit('write-populated'))
    await owner.call('remove', populated)
    const writeFresh = async () => {
      const segid = await owner.call<bigint>('offer', bytes, false)
      const seconds = await timeTouch(partition, segid, touchWrite)
      await owner.call('remove', segid)
      return seconds
    }
    const fresh = await alternate(freshRounds, writeFresh, limit('write-fresh'))
    const target = { of: 'ratio', most: 1.1 } as const
    return [
      { name: 'first touch of 1 GiB, read / plain mmap', unit: 'seconds', ...read, target },
      { name: 'first touch of 1 GiB, write / plain mmap', unit: 'seconds', ...write, target },
      { name: 'first touch of 1 GiB, write, no page there yet / plain mmap', unit: 'seconds', ...fresh, target },
    ]
  },
}
