import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Directory } from '../../src/coherence/directory.js'
import { SharerSets } from '../../src/coherence/sharers.js'
import { Random } from '../unit/random.js'

test('a set of nodes has one number, however it came about', () => {
  const sets = new SharerSets()
  const make = (...nodes: number[]) =>
    nodes.reduce((id, node) => {
      const next = sets.with(id, node)
      sets.retain(next)
      return next
    }, 0)
  assert.equal(make(3, 1, 2), make(2, 3, 1))
  assert.deepEqual(sets.members(make(3, 1, 2)), [1, 2, 3])
  assert.equal(sets.without(make(1, 2), 2), make(1))
  assert.equal(sets.without(make(7), 7), 0)
})

test('a directory says of every page what was last said of it, and keeps the sets that pages have', () => {
  const random = new Random(11)
  const pages = 200_000
  const directory = new Directory(pages)
  const model = new Map<number, { state: 'shared' | 'far'; nodes: Set<number> }>()
  for (let step = 0; step < 20_000; step += 1) {
    const page = random.below(40) * 5000 + random.below(4)
    const node = 1 + random.below(5)
    const nodes = model.get(page)?.state === 'shared' ? (model.get(page)?.nodes as Set<number>) : new Set<number>()
    const choice = random.below(4)
    if (choice === 0) directory.setHome(page)
    if (choice === 1) directory.setFar(page, node)
    if (choice === 2) directory.addSharer(page, node)
    if (choice === 3) directory.removeSharer(page, node)
    if (choice === 0) model.delete(page)
    if (choice === 1) model.set(page, { state: 'far', nodes: new Set([node]) })
    if (choice === 2) model.set(page, { state: 'shared', nodes: nodes.add(node) })
    if (choice === 3) nodes.delete(node)
    if (choice === 3) model.set(page, { state: 'shared', nodes })
  }
  const said: [number, string, number[]][] = []
  directory.forEach((page) => {
    const owner = directory.owner(page)
    said.push([page, directory.state(page), owner === 0 ? [...directory.sharers(page)] : [owner]])
  })
  const due = [...model].sort(([a], [b]) => a - b).map(([page, { state, nodes }]) => [page, state, [...nodes].sort()])
  assert.deepEqual(said, due)
  assert.equal(directory.size, model.size)
  const kept = [...model.values()]
    .filter(({ state }) => state === 'shared')
    .map(({ nodes }) => [...nodes].sort().join())
  assert.equal(directory.setCount, new Set(['', ...kept]).size)
})

test('nodes that come and go leave no sets behind', () => {
  const directory = new Directory(10)
  for (let node = 1; node < 1000; node += 1) {
    directory.addSharer(3, node)
    directory.addSharer(4, node)
    if (node > 100) directory.removeSharer(4, node - 100)
    if (node > 2) directory.removeSharer(3, node - 2)
  }
  for (let node = 900; node < 1000; node += 1) directory.removeSharer(4, node)
  assert.deepEqual(directory.sharers(3), [998, 999])
  assert.equal(directory.setCount, 2)
})
