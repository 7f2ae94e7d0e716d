import { LimitProgram } from '../support/limit.js'
import { alternate, medianOf } from '../support/measure.js'
import { Peer } from '../support/peer.js'
import type { Row } from '../support/row.js'
import { openPartition, startService } from '../support/service.js'
import type { Suite } from '../support/suite.js'

const page = 4_096
const rounds = 5
const operations = 10_000

export const attach: Suite = {
  name: 'attach',
  about: 'attach, touch and detach one page, against mmap, touch and munmap',
  async run(scope): Promise<Row[]> {
    const service = await startService(scope)
    const owner = new Peer('owner', scope)
    await owner.call('open', service.runtimeDir)
    const partition = await openPartition(service, scope)
    const permit = await partition.get(await owner.call<bigint>('offer', 16 * page, false), 'readwrite')
    const once = async () => {
      const attachment = await permit.attach({ length: page })
      new Uint8Array(attachment.buffer)[0] = 1
      attachment.detach()
    }
    const map = new LimitProgram('map', scope)
    const bare = () => map.seconds('bare-page', operations)
    const typescript = await alternate(rounds, () => medianOf(operations, once), bare)
    const core = await alternate(rounds, () => map.seconds('core-page', operations), bare)
    return [
      {
        name: 'attach + touch + detach a page, TypeScript / mmap + touch + munmap',
        unit: 'seconds',
        ...typescript,
        target: { of: 'value', most: 30e-6 },
      },
      {
        name: 'attach + touch + detach a page, C core / mmap + touch + munmap',
        unit: 'seconds',
        ...core,
        target: { of: 'ratio', most: 2 },
      },
    ]
  },
}
