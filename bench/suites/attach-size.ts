import type { Partition } from '../../src/index.js'
import { LimitProgram } from '../support/limit.js'
import { alternate, medianOf, type Round } from '../support/measure.js'
import { Peer } from '../support/peer.js'
import { pinToOneProcessor } from '../support/pin.js'
import type { Row } from '../support/row.js'
import { openPartition, startService } from '../support/service.js'
import type { Suite } from '../support/suite.js'

const small = 1024 * 1024
const large = 8 * 1024 * 1024 * 1024
const rounds = 5
const attaches = 5_000
const permits = 1_000

/** Attach and detach the first MiB, with a permit in hand. */
async function attaching(partition: Partition, segid: bigint): Promise<Round> {
  const permit = await partition.get(segid)
  return () => medianOf(attaches, async () => (await permit.attach({ length: small })).detach())
}

/** The same with a fresh permit, so that the service is asked where the memory lies. */
function attachingAnew(partition: Partition, segid: bigint): Round {
  return () =>
    medianOf(permits, async () => {
      const permit = await partition.get(segid)
      await permit.attach({ length: small })
      await permit.release()
    })
}

export const attachSize: Suite = {
  name: 'attach-size',
  about: 'attach from a sparse segment of 8 GiB, against one of 1 MiB',
  async run(scope): Promise<Row[]> {
    pinToOneProcessor(scope)
    const service = await startService(scope)
    const owner = new Peer('owner', scope)
    await owner.call('open', service.runtimeDir)
    const partition = await openPartition(service, scope)
    const [smallId, largeId] = [
      await owner.call<bigint>('offer', small, false),
      await owner.call<bigint>('offerPair', large / 2),
    ]
    const [ofSmall, ofLarge] = [await attaching(partition, smallId), await attaching(partition, largeId)]
    const again = await alternate(rounds, ofLarge, ofSmall)
    const anew = await alternate(rounds, attachingAnew(partition, largeId), attachingAnew(partition, smallId))
    const map = new LimitProgram('map', scope)
    const inC = (word: string) =>
      alternate(
        rounds,
        () => map.seconds(word, attaches, large),
        () => map.seconds(word, attaches, small),
      )
    const target = { of: 'ratio', most: 1.5 } as const
    return [
      { name: 'attach + detach 1 MiB of 8 GiB / of 1 MiB', unit: 'seconds', ...again, target },
      { name: 'get + attach 1 MiB + release, of 8 GiB / of 1 MiB', unit: 'seconds', ...anew, target },
      { name: 'attach a whole 8 GiB / 1 MiB, C core', unit: 'seconds', ...(await inC('attach')), target },
      { name: 'detach a whole 8 GiB / 1 MiB, C core', unit: 'seconds', ...(await inC('detach')) },
      { name: 'bare munmap of 8 GiB / 1 MiB', unit: 'seconds', ...(await inC('munmap')) },
    ]
  },
}
