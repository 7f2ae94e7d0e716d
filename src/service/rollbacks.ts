import { XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import type { RolledBack } from '../pager/home-file.js'
import { countFirst } from '../sorted.js'
import type { Channel } from '../transport/channel.js'
import type { Message, Row } from '../wire/codec.js'
import { unknownAge } from '../wire/schema.js'
import type { ThreadGroup } from './groups.js'
import type { Registry, Segment, SessionId } from './registry.js'
import type { SegmentMemory } from './segment-memory.js'

export interface RollbacksContext {
  readonly registry: Registry
  readonly memories: ReadonlyMap<bigint, SegmentMemory>
  /** The connection of a session, if it has one. */
  channelOf(session: SessionId): Channel | undefined
}

/** What a process's agent put back when the service before this one was killed. */
interface PutBack {
  /** Ascending. */
  readonly ranges: readonly Row<'range'>[]
  /** Rows that its segments may still be told, so that many on the same memory do not make countless ones. */
  rowsLeft: number
}

/** Rows of one `rolledBack`. */
const maxRows = 1_024

/** Rows that one process's segments are told, before each is told one alone. */
const maxRowsOfAll = 65_536

/** Tells owners which of their memory has earlier content again, and how old that is. */
export class Rollbacks {
  readonly #context: RollbacksContext
  readonly #putBack = new WeakMap<ThreadGroup, PutBack>()

  constructor(context: RollbacksContext) {
    this.#context = context
  }

  /** A partition is lost that had pages of a file for writing. */
  lost(identity: string, pages: readonly RolledBack[]): void {
    const { memories, registry } = this.#context
    for (const [segid, memory] of memories) {
      if (registry.has(segid)) this.#tell(segid, memory.rolledBack(identity, pages))
    }
  }

  /**
   * A process's agent tells what it put back. Its segments hear of it that are here again, and the
   * others when they come. EPROTO for what cannot be, or is told twice.
   */
  putBack(group: ThreadGroup, { rows }: Message & { name: 'putBack' }): void {
    checkRanges(rows)
    if (this.#putBack.has(group)) throw new XpmemError('EPROTO', 'putBack', 'that was told before')
    this.#putBack.set(group, { ranges: rows, rowsLeft: maxRowsOfAll })
    const { memories, registry } = this.#context
    for (const segid of memories.keys()) {
      if (!registry.has(segid)) continue
      const segment = registry.find(segid, 'putBack')
      if (segment.owner === group.id) this.cameBack(group, segment)
    }
  }

  /** A segment of the process's is here that was made under an earlier service. */
  cameBack(group: ThreadGroup, segment: Segment): void {
    const known = this.#putBack.get(group)
    if (known === undefined || segment.origin !== 'earlier') return
    const most = Math.max(1, Math.min(maxRows, known.rowsLeft))
    const rows = rollbacksOf(segment, known.ranges, most)
    known.rowsLeft -= rows.length
    this.#tell(segment.segid, rows)
  }

  #tell(segid: bigint, rows: readonly Row<'rollback'>[]): void {
    const { registry, channelOf } = this.#context
    const session = registry.sessionOf(segid)
    if (rows.length === 0 || session === undefined) return
    const channel = channelOf(session)
    for (let at = 0; at < rows.length; at += maxRows) {
      channel?.send('rolledBack', 0, { segid, rows: rows.slice(at, at + maxRows) })
    }
  }
}

/** Which ranges of a segment lie in ranges of its owner's memory; where there are more, the last reaches to their end. */
function rollbacksOf({ address, length }: Segment, ranges: readonly Row<'range'>[], most: number): Row<'rollback'>[] {
  const start = Number(address)
  const end = start + length
  const first = countFirst(ranges, (range) => range.address + range.length <= start)
  const inside = ranges.slice(
    first,
    countFirst(ranges, (range) => range.address < end),
  )
  return inside.slice(0, most).map((range, index) => {
    const last = index + 1 === most ? (inside.at(-1) ?? range) : range
    const offset = Math.max(range.address, start) - start
    return { offset, length: Math.min(last.address + last.length, end) - start - offset, ageMs: unknownAge }
  })
}

function checkRanges(ranges: readonly Row<'range'>[]): void {
  const { pageSize } = kernel
  let reached = 0
  for (const { address, length } of ranges) {
    const end = address + length
    const whole = address % pageSize === 0 && length % pageSize === 0 && length > 0
    if (!whole || address < reached || !Number.isSafeInteger(end))
      throw new XpmemError('EPROTO', 'putBack', 'what was put back are whole pages, in order')
    reached = end
  }
}
