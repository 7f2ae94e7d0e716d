/** A partition's service as `xpmem serve` runs it, in a process that can be asked how much it holds. */
import type { PartitionsOptions } from '../../src/partitions/partitions.js'
import { runtimePaths } from '../../src/runtime-directory.js'
import { defaultPaging } from '../../src/service/far.js'
import { Service } from '../../src/service/service.js'
import { serveCalls } from '../support/calls.js'
import { usedBytes } from '../support/used-bytes.js'

export interface StartOptions {
  readonly runtimeDir: string
  readonly partition: string
  readonly partitionId: number
  readonly cacheBytes: number
  readonly partitions: PartitionsOptions
}

serveCalls({
  /** Where it listens for other partitions; undefined if it does not. */
  async start({ runtimeDir, partition, partitionId, cacheBytes, partitions }: StartOptions) {
    const paths = runtimePaths({ runtimeDir, partition }, 'serve')
    const service = new Service({ paths, partitionId, partitions, paging: { ...defaultPaging, cacheBytes } })
    return service.join()
  },
  usedBytes,
})
