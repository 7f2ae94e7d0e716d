/** Links that are cut, or slow, in the middle of load. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Access } from '../support/actor-paging.js'
import { type Side, untilPartition } from '../xpc/pair.js'
import { ownAddress } from '../xpc/raw-peer.js'
import { whyNotLinearizable } from './history.js'
import {
  assertNothingLost,
  flushed,
  type Load,
  progress,
  startLoad,
  stopAll,
  untilRevoked,
  wordsAtHome,
} from './load.js'
import { Network, whyNoNamespaces, whyNotLossy } from './network.js'
import { Relay } from './relay.js'
import { another, attach, load as loadText, type Site, share, startWorld, store } from './world.js'

const insecure = ['--insecure-plaintext']

/** Cuts the far partition off while everybody stores, and joins it again. */
async function cutAndRestore(load: Load, { cut, restore }: { cut: () => void; restore: () => void }): Promise<void> {
  const { owner, local, third, far, farToo, sides, shared } = load
  const kept = await flushed(far)
  cut()
  for (const worker of [far, farToo]) await untilRevoked(worker, 'partition')
  await untilPartition(sides[0].actor, 'far', ({ state }) => state === 'inactive' || state === 'activating')
  await progress([owner, local, third])
  await assertNothingLost([owner, local, third])
  for (const word of await wordsAtHome(load, far)) assert(kept <= word, `${kept} <= ${word}`)

  restore()
  const { actor } = sides[1]
  await untilPartition(actor, 'home', ({ state }) => state === 'active')
  const { attachment } = await attach(actor, shared.segid)
  await store(actor, attachment, 100, 'joined again')
  assert.equal(await loadText(owner.actor, owner.memory, 100, 12), 'joined again')
  await stopAll([owner, local, third])
  await assertNothingLost([owner, local, third])
}

const why = whyNoNamespaces()
if (why !== undefined) console.log(`NOT RUN, a link in a network namespace that is cut: ${why}`)

test('a link that goes down ends on both sides, and goes on when it comes up', { skip: why ?? false }, async (t) => {
  const network = Network.create(t, 3)
  const load = await startLoad(t, { sites: network.sites, args: insecure })
  await cutAndRestore(load, { cut: () => network.set(1, 'down'), restore: () => network.set(1, 'up') })
})

/** Three partitions on loopback, of which the first is reached over a relay. */
async function relayed(t: TestContext, delayMs: number): Promise<{ relay: Relay; sites: readonly Site[] }> {
  const reach = ownAddress()
  const home = { address: ownAddress(), within: [], reach }
  const relay = await Relay.start(t, { from: reach, to: home.address, delayMs })
  return { relay, sites: [home, { address: ownAddress(), within: [] }, { address: ownAddress(), within: [] }] }
}

test('a way on which nothing arrives any more ends the link on both sides, and everybody goes on', async (t) => {
  const { relay, sites } = await relayed(t, 0)
  const load = await startLoad(t, { sites })
  const { owner, local, third, far, farToo } = load
  relay.cut()
  for (const worker of [far, farToo, third]) await untilRevoked(worker, 'partition')
  await progress([owner, local])
  relay.restore()
  for (const { actor } of load.sides.slice(1)) {
    await untilPartition(actor, 'home', ({ state }) => state === 'active')
    const { attachment } = await attach(actor, load.shared.segid)
    await store(actor, attachment, 100, 'joined again')
    assert.equal(await loadText(owner.actor, owner.memory, 100, 12), 'joined again')
  }
  await stopAll([owner, local])
  await assertNothingLost([owner, local])
})

/** Counts and uses a register in all of three partitions. */
async function countOver(t: TestContext, sites: readonly Site[], args: readonly string[]): Promise<void> {
  const sides = (await startWorld(t, 3, { sites, args })) as [Side, Side, Side]
  const { memory, segid } = await share(sides[0].actor, 4)
  const parties = await Promise.all(
    sides.map(async (side) => {
      const actor = await another(t, side)
      return { actor, ...(await attach(actor, segid)) }
    }),
  )
  const times = 2_000
  await Promise.all(parties.map(({ actor, attachment }) => actor.call('count', attachment, 0, times, 1_024, 3)))
  assert.equal(await sides[0].actor.call('load', memory, 0), 3 * times)
  const histories = await Promise.all(
    parties.map(({ actor, attachment }, index) =>
      actor.call<Access[]>('register', attachment, 2_048, 500, 3_072, 3, index + 1),
    ),
  )
  assert.equal(whyNotLinearizable(histories.flat()), undefined)
}

test('over a way of 50 ms a sum is exact and a register linearizable', async (t) => {
  const { sites } = await relayed(t, 50)
  await countOver(t, sites, [])
})

const whyLossless = why ?? whyNotLossy()
if (whyLossless !== undefined) console.log(`NOT RUN, a link that loses packets: ${whyLossless}`)

test('over a link of 50 ms that loses one packet of 100 a sum is exact and a register linearizable', {
  skip: whyLossless ?? false,
}, async (t) => {
  const network = Network.create(t, 3)
  await countOver(t, await network.slowDown(t), insecure)
  assert(network.packetsLost() > 0)
})
