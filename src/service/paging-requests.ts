import { XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import type { PagingStats } from '../pager/paged-file.js'
import type { Pagers } from '../pager/pagers.js'
import type { Message, MessageInput } from '../wire/codec.js'
import { access } from '../wire/schema.js'
import type { ThreadGroup } from './groups.js'

/** Pages of one mapping that a request gets at the most: 4 GiB. */
const maxPrefetchPages = 1 << 20

interface AddressRange {
  readonly address: number
  readonly length: number
}

/** What a process asks of memory whose faults this service answers. */
export class PagingRequests {
  readonly #pagers: Pagers

  constructor(pagers: Pagers) {
    this.#pagers = pagers
  }

  async prefetch(group: ThreadGroup, message: Message & { name: 'prefetch' }): Promise<void> {
    if (message.access !== access.read && message.access !== access.readwrite) {
      throw new XpmemError('EINVAL', 'prefetch', "pages are got for 'read' or 'write'")
    }
    const wanted = message.access === access.read ? 'read' : 'write'
    const parts = this.#within(group, message, 'prefetch')
    await Promise.all(
      parts.map(({ handler, first, count }) => handler.prefetch(first, Math.min(count, maxPrefetchPages), wanted)),
    )
  }

  async flush(group: ThreadGroup, message: Message & { name: 'flush' }): Promise<void> {
    const parts = this.#within(group, message, 'flush')
    await Promise.all(parts.map(({ handler, first, count }) => handler.flush(first, count)))
  }

  /** Of every file that lies in the range, whole. */
  stats(group: ThreadGroup, message: Message & { name: 'stats' }): MessageInput<'counted'> {
    const handlers = new Set(this.#within(group, message, 'stats').map(({ handler }) => handler))
    const sum = (of: keyof PagingStats) => [...handlers].reduce((total, { stats }) => total + stats[of], 0)
    return {
      faults: sum('faults'),
      pagesIn: sum('pagesIn'),
      pagesOut: sum('pagesOut'),
      waitedMicros: Math.round(sum('waitedMs') * 1_000),
    }
  }

  #within(group: ThreadGroup, { address, length }: AddressRange, call: string) {
    if (address % kernel.pageSize !== 0 || length % kernel.pageSize !== 0 || length === 0) {
      throw new XpmemError('EINVAL', call, `address and length are multiples of the page size, ${kernel.pageSize}`)
    }
    return this.#pagers.within(group, address, length)
  }
}
