import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Random } from '../unit/random.js'
import { Program, type ProgramOptions } from './program.js'

const seed = Number(process.env.XPMEM_COHERENCE_SEED ?? Date.now() % 100_000)
const programs = 40

function runAll(t: TestContext, options: ProgramOptions) {
  t.diagnostic(`XPMEM_COHERENCE_SEED=${seed}`)
  const sums = { accesses: 0, evicted: 0, flushed: 0, cuts: 0, rolledBack: 0, pagesIn: 0 }
  for (let index = 0; index < programs; index += 1) {
    const program = new Program(options, new Random(seed + index))
    try {
      program.run()
      program.readAll()
    } catch (cause) {
      throw new Error(`program ${index} with XPMEM_COHERENCE_SEED=${seed}: ${(cause as Error).message}`, { cause })
    }
    const { done, world } = program
    for (const key of ['accesses', 'evicted', 'flushed', 'cuts'] as const) sums[key] += done[key]
    sums.rolledBack += world.rolledBack
    for (const { cache } of world.places) sums.pagesIn += cache.counters.pagesIn
  }
  t.diagnostic(JSON.stringify(sums))
  return sums
}

test('programs on many pages read what was written last, whatever is evicted, flushed and fetched ahead', (t) => {
  const sums = runAll(t, { pages: 48, places: 3, threadsEach: 2, steps: 3000, isLossy: false })
  for (const key of ['evicted', 'flushed', 'pagesIn'] as const) assert(sums[key] > 100, `${key} took place`)
  assert.equal(sums.rolledBack, 0, 'nothing is rolled back while links hold')
})

test('programs on few pages, which everybody wants, read what was written last', (t) => {
  runAll(t, { pages: 2, places: 4, threadsEach: 3, steps: 3000, isLossy: false })
})

test('programs read what was written last or came back when links are lost and nodes join again', (t) => {
  const sums = runAll(t, { pages: 48, places: 3, threadsEach: 2, steps: 3000, isLossy: true })
  assert(sums.cuts > 20 && sums.rolledBack > 20, 'links are lost while nodes write')
})
