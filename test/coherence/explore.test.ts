import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { explore } from './explore.js'
import type { Budget } from './saved.js'

/** How many more loads and stores than by default each exploration begins. */
const deeper = Number(process.env.XPMEM_EXPLORE_DEPTH ?? 0)

interface Space {
  readonly places: number
  /** Threads in each partition. */
  readonly threads: number
  readonly budget: Budget
  readonly depth?: number
  /** What home knows of turns with the page. */
  readonly turns?: number
  /** Nodes that may only read. */
  readonly readers?: number
}

function exploreAll(t: TestContext, { places, threads, budget, depth, turns = 0, readers = 0 }: Space) {
  const everywhere = Array.from({ length: threads * (places + 1) }, (_, index) => Math.floor(index / threads))
  const options = { pages: 1, places, threads: everywhere, turns, readers }
  const result = explore(options, { ...budget, accesses: budget.accesses + deeper }, depth)
  const { states, steps, rests, rollbacks } = result
  const end = result.isComplete ? 'all of them' : 'cut off there'
  t.diagnostic(
    `${states} states, ${steps} steps, ${result.depth} deep (${end}), ${rests} at rest, ${rollbacks} rollbacks`,
  )
  assert.equal(result.isComplete, depth === undefined)
  assert(rests > 0 || depth !== undefined)
  assert.equal(rollbacks > 0, budget.cuts > 0, 'links are lost while a node is the writer')
}

const idle: Budget = { accesses: 0, evictions: 0, flushes: 0, cuts: 0 }

test('two nodes: every order of three accesses, an eviction and a flush leaves one writer or many readers', (t) =>
  exploreAll(t, { places: 2, threads: 1, budget: { ...idle, accesses: 3, evictions: 1, flushes: 1 } }))

test('two nodes: every order of three accesses and a lost link answers everybody', (t) =>
  exploreAll(t, { places: 2, threads: 1, budget: { ...idle, accesses: 3, cuts: 1 } }))

test('two nodes: every order of two accesses, an eviction, a flush and a lost link answers everybody', (t) =>
  exploreAll(t, { places: 2, threads: 1, budget: { accesses: 2, evictions: 1, flushes: 1, cuts: 1 } }))

test('two nodes: two threads in each partition and at home are all served', (t) =>
  exploreAll(t, { places: 2, threads: 2, budget: { ...idle, accesses: 3 } }))

test('three nodes: every order of three accesses and an eviction leaves one writer or many readers', (t) =>
  exploreAll(t, { places: 3, threads: 1, budget: { ...idle, accesses: 3, evictions: 1 } }))

test('three nodes: every order of two accesses and a lost link answers everybody', (t) =>
  exploreAll(t, { places: 3, threads: 1, budget: { ...idle, accesses: 2, cuts: 1 } }))

for (const [turns, what] of [
  [2, 'was taken turns with twice'],
  [7, 'is known to be taken turns with'],
] as const) {
  test(`two nodes: every order of three accesses and a flush to a page that ${what} leaves one writer or many readers`, (t) =>
    exploreAll(t, { places: 2, threads: 1, turns, budget: { ...idle, accesses: 3, flushes: 1 } }))

  test(`two nodes: every order of two accesses, an eviction and a lost link answers everybody who uses a page that ${what}`, (t) =>
    exploreAll(t, { places: 2, threads: 1, turns, budget: { ...idle, accesses: 2, evictions: 1, cuts: 1 } }))
}

test('three nodes: every order of three accesses to a page that is taken turns with leaves one writer or many readers', (t) =>
  exploreAll(t, { places: 3, threads: 1, turns: 4, budget: { ...idle, accesses: 3 } }))

for (const turns of [0, 2, 7]) {
  test(`two nodes and one that may only read: every order of three accesses and an eviction is right, after ${turns} turns`, (t) =>
    exploreAll(t, { places: 3, readers: 1, threads: 1, turns, budget: { ...idle, accesses: 3, evictions: 1 } }))
}

test('three nodes: whatever happens goes well in the first 10 steps', (t) =>
  exploreAll(t, { places: 3, threads: 1, budget: { accesses: 6, evictions: 2, flushes: 2, cuts: 2 }, depth: 10 }))
