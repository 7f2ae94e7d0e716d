import { formatId } from '../ids.js'
import { closeAll } from '../transport/descriptor.js'
import type { SegmentInfo } from '../wire/segment-info.js'
import type { Groups } from './groups.js'
import { commandOf } from './processes.js'
import type { Registry, Segment } from './registry.js'
import type { SegmentMemory } from './segment-memory.js'

/** Mappings per segment, and the segments of which some process did not answer. */
export interface Holdings {
  readonly attachments: Map<bigint, number>
  readonly unknown: boolean
}

/** Agents that say nothing in this time are left out of a listing. */
const reportTimeoutMs = 500

/** A page is cut here, well under the bytes a message may have. */
const pageBytes = 48_000

/** Asks every agent what its process has mapped. */
export async function collectHoldings(registry: Registry, groups: Groups): Promise<Holdings> {
  const attachments = new Map<bigint, number>()
  let unknown = false
  await Promise.all(
    [...registry.holders()].map(async (id) => {
      try {
        const agent = groups.get(id)?.agent
        // Whoever may list could make questions pile up for one that does not read.
        const answer = agent?.congested ? undefined : await agent?.request('report', {}, reportTimeoutMs)
        closeAll(answer?.descriptors ?? [])
        if (answer?.message.name !== 'holdings') {
          unknown = true
          return
        }
        for (const row of answer.message.rows) {
          attachments.set(row.segid, (attachments.get(row.segid) ?? 0) + row.attachments)
        }
      } catch {
        unknown = true
      }
    }),
  )
  return { attachments, unknown }
}

/** One page of the listing as JSON text, and where the next begins (0 after the last). */
export function listingPage(
  registry: Registry,
  groups: Groups,
  memoryOf: (segid: bigint) => SegmentMemory | undefined,
  holdings: Holdings,
  cursor: bigint,
): { text: string; cursor: bigint } {
  const lines: string[] = []
  let bytes = 0
  let last = 0n
  for (const segment of registry.segmentsAfter(cursor)) {
    if (segment.origin === 'elsewhere') continue
    const permits = registry.permitCount(segment.segid)
    const line = JSON.stringify(describe(segment, groups, memoryOf(segment.segid), holdings, permits))
    bytes += Buffer.byteLength(line) + 1
    if (bytes > pageBytes) return { text: `[${lines.join(',')}]`, cursor: last }
    lines.push(line)
    last = segment.segid
  }
  return { text: `[${lines.join(',')}]`, cursor: 0n }
}

/** The longest command line that is told. */
const maxCommandLength = 200

function describe(
  segment: Segment,
  groups: Groups,
  memory: SegmentMemory | undefined,
  holdings: Holdings,
  permits: number,
): SegmentInfo {
  const pid = groups.get(segment.owner)?.pid ?? 0
  return {
    segid: formatId(segment.segid),
    name: segment.name,
    owner: { pid, uid: segment.uid, gid: segment.gid, command: commandOf(pid, maxCommandLength) },
    length: segment.length,
    dataLength: segment.dataLength,
    mode: segment.mode,
    permits,
    attachments: holdings.unknown ? null : (holdings.attachments.get(segment.segid) ?? 0),
    memoryInUse: memory?.usedBytes() ?? 0,
  }
}
