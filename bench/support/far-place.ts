import type { Attachment, Partition } from '../../src/index.js'
import { Peer } from './peer.js'
import type { Scope } from './scope.js'
import { openPartition, type Served, startPartitions } from './service.js'

/** An owner at home, and this process in the other partition. */
export interface Place {
  /** The far partition's service. */
  readonly far: Served
  readonly owner: Peer
  readonly partition: Partition
}

export async function openPlace(scope: Scope): Promise<Place> {
  return placeOf(scope, await startPartitions(scope))
}

/** Likewise, with services that run. */
export async function placeOf(scope: Scope, { home, far }: Record<'home' | 'far', Served>): Promise<Place> {
  const owner = new Peer('owner', scope)
  await owner.call('open', home.runtimeDir, 'home')
  return { far, owner, partition: await openPartition(far, scope) }
}

export interface Fresh {
  readonly attachment: Attachment
  readonly segid: bigint
  end(): Promise<void>
}

/** Fresh memory at home, attached here; ended with what is returned. */
export async function attachFresh(
  { owner, partition }: Place,
  bytes: number,
  content: 'ones' | 'holes' = 'ones',
): Promise<Fresh> {
  const segid = await owner.call<bigint>('offer', bytes, content === 'ones')
  const permit = await partition.get(segid, 'readwrite')
  const attachment = await permit.attach()
  return {
    attachment,
    segid,
    async end() {
      await permit.release()
      await owner.call('remove', segid)
    },
  }
}
