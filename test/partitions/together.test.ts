/** Processes of three partitions at the same memory at the same time. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Access } from '../support/actor-paging.js'
import { Random } from '../unit/random.js'
import type { Side } from '../xpc/pair.js'
import { canHappen, whyNotLinearizable } from './history.js'
import { placements } from './network.js'
import { another, attach, page, type Shared, type Site, share, startWorld } from './world.js'

/** Two processes in each of three partitions, with the same memory. */
async function crowd(t: TestContext, sites: readonly Site[] | undefined, pages: number) {
  const args = sites === undefined ? [] : ['--insecure-plaintext']
  const sides = (await startWorld(t, 3, { args, ...(sites === undefined ? {} : { sites }) })) as [Side, Side, Side]
  const shared: Shared = await share(sides[0].actor, pages)
  const parties = await Promise.all(
    [...sides, ...sides].map(async (side) => {
      const actor = await another(t, side)
      return { actor, ...(await attach(actor, shared.segid)) }
    }),
  )
  return { ...shared, sides, parties }
}

test('a history is found impossible exactly if no order of it is possible', () => {
  const random = new Random(7)
  let possible = 0
  const rounds = 20_000
  for (let round = 0; round < rounds; round += 1) {
    // Times are apart, as those of a clock of nanoseconds are.
    const count = 2 + random.below(5)
    const times = Array.from({ length: 2 * count }, (_, index) => index)
    const pick = () => times.splice(random.below(times.length), 1)[0] as number
    const history = Array.from({ length: count }, (_, index): Access => {
      const [a, b] = [pick(), pick()]
      const isWrite = random.below(2) === 0
      return [isWrite ? 'write' : 'read', Math.min(a, b), Math.max(a, b), isWrite ? index + 1 : random.below(count + 1)]
    })
    const expected = canHappen(history)
    possible += expected ? 1 : 0
    const why = whyNotLinearizable(history)
    assert.equal(why === undefined, expected, `${why}: ${JSON.stringify(history)}`)
  }
  assert(possible > rounds / 10 && possible < rounds * 0.9, `${possible} of ${rounds}`)
})

for (const [where, sitesOf] of Object.entries(placements())) {
  test(`six processes of three partitions ${where} that add 20,000 times to one word have added 120,000`, async (t) => {
    const { sides, memory, parties } = await crowd(t, sitesOf(t, 3), 2)
    const times = 20_000
    const counts = parties.map(({ actor, attachment }) =>
      actor.call<Int32Array>('count', attachment, 0, times, 1_024, parties.length),
    )
    const seen = await Promise.all(counts)
    assert.equal(await sides[0].actor.call('load', memory, 0), parties.length * times)
    // Each saw numbers that nobody else saw.
    const all = Int32Array.from(seen.flatMap((own) => [...own])).sort()
    assert(all.every((value, index) => value === index))
    const jumps = seen.map((own) =>
      own.reduce((sum, value, index) => sum + (index > 0 && value !== (own[index - 1] as number) + 1 ? 1 : 0), 0),
    )
    t.diagnostic(`others came between two additions of one: ${jumps} times`)
    assert(jumps.reduce((sum, count) => sum + count) > 100)
  })

  test(`a register that six processes of three partitions ${where} use is linearizable`, async (t) => {
    const { parties } = await crowd(t, sitesOf(t, 3), 2)
    const histories = await Promise.all(
      parties.map(({ actor, attachment }, index) =>
        actor.call<Access[]>('register', attachment, 5, 5_000, 1_024, parties.length, index + 1),
      ),
    )
    const history = histories.flat()
    assert.equal(whyNotLinearizable(history), undefined)
    const foreign = histories.map(
      (own, index) => own.filter(([, , , value]) => Math.floor(value / 1_000_000) !== index + 1).length,
    )
    t.diagnostic(`reads of what another process wrote: ${foreign}`)
    assert(foreign.every((count) => count > 10))
    // A stale read must be found in a history like this one.
    const last = history.reduce((latest, access) => (access[1] > latest[1] ? access : latest))
    const first = history
      .filter(([kind]) => kind === 'write')
      .reduce((earliest, access) => (access[2] < earliest[2] ? access : earliest))
    assert.notEqual(whyNotLinearizable([...history, ['read', last[2] + 1, last[2] + 2, first[3]]]), undefined)
  })

  for (const pages of [3, 40]) {
    test(`a ring of ${pages} pages that is written at home ${where} is read afar without gap or tear`, async (t) => {
      const { sides, memory, parties } = await crowd(t, sitesOf(t, 3), pages)
      const [reader] = parties.slice(1)
      const records = 2_000
      const [, result] = await Promise.all([
        sides[0].actor.call('ringWrite', memory, records),
        reader?.actor.call('ringRead', reader.attachment, records),
      ])
      assert.equal(result, 'whole')
      assert.equal(await sides[0].actor.call('load', memory, page / 4), records)
    })
  }
}
