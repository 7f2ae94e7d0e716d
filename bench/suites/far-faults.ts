import { attachFresh, type Place } from '../support/far-place.js'
import type { LimitProgram } from '../support/limit.js'
import { alternate, interleave, pairsOf } from '../support/measure.js'
import type { Row } from '../support/row.js'

const page = 4_096
/** As many as bench/limits/far.c has. */
const pages = 65_536
const faults = 4_000
const rounds = 5
/** A power of two: see next_page of bench/limits/rounds.h. */
const crowdPages = 16_384

const quantiles = [
  { name: 'median', quantile: 0.5, most: 1.5 },
  { name: '99th percentile', quantile: 0.99, most: 3 },
] as const

/**
 * Seconds that a page takes which is seen for the first time, in an order that nobody can guess: each of
 * the quantiles of many.
 */
export async function timeFaults(place: Place): Promise<number[]> {
  const { attachment, end } = await attachFresh(place, pages * page)
  const numbers = new Float64Array(attachment.buffer)
  const times = new Float64Array(faults)
  let at = 1
  for (let index = 0; index < faults; index += 1) {
    const start = performance.now()
    if (numbers[(at * page) / 8] !== 1) throw new Error('a far page is not what its home wrote')
    times[index] = (performance.now() - start) / 1_000
    at = (at * 5 + 12_345) % pages
  }
  await end()
  times.sort()
  return quantiles.map(({ quantile }) => times[Math.floor(faults * quantile)] as number)
}

/** Against a C pager that keeps memory coherent as well, and one that need not. */
export async function measureFaults(place: Place, pager: LimitProgram, where: string): Promise<Row[]> {
  const [ours = [], coherent = [], bare = []] = await interleave(rounds, [
    () => timeFaults(place),
    () => pager.allSeconds('coherent', faults),
    () => pager.allSeconds('fault', faults),
  ])
  const column = (measured: readonly number[][], index: number) => measured.map((round) => round[index] as number)
  const against = (limit: readonly number[][], index: number) => pairsOf(column(ours, index), column(limit, index))
  const targets = quantiles.map(({ name, most }, index) => ({
    name: `far read fault, random pages, ${name}, ${where} / C pager`,
    unit: 'seconds' as const,
    ...against(coherent, index),
    target: { of: 'ratio' as const, most },
  }))
  const name = `far read fault, random pages, median, ${where} / C pager whose home only sends`
  return [...targets, { name, unit: 'seconds', ...against(bare, 0) }]
}

/** Pages that many threads of a C program wait for at once, against few. `reader`: bench/limits/xpmem.c, far. */
export async function measureCrowd({ owner }: Place, reader: LimitProgram): Promise<Row> {
  const rateOf = (threads: number) => async () => {
    const segid = await owner.call<bigint>('offer', crowdPages * page, true)
    const seconds = await reader.seconds('crowd', `${segid}`, threads, crowdPages)
    await owner.call('remove', segid)
    return (crowdPages * page) / seconds
  }
  return {
    name: 'far read faults of 64 threads at once, random pages / of 4',
    unit: 'bytes/s',
    ...(await alternate(rounds, rateOf(64), rateOf(4))),
    target: { of: 'ratio', least: 1 },
  }
}
