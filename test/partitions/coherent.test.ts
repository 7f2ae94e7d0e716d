/** Loads and stores of processes of several partitions, one at a time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Actor } from '../support/actor.js'
import type { Side } from '../xpc/pair.js'
import { type Attached, another, attach, load, page, share, startWorld, store } from './world.js'

/** Who can store to memory, and where it has it. */
interface Writer {
  readonly actor: Actor
  readonly memory: number
}

/** Each writes to every page in turn; after each turn everybody must read it. */
async function inTurns(writers: readonly Writer[], readers: readonly Writer[], pages: number, rounds = 3) {
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, writer] of writers.entries()) {
      const at = ((round * 7 + index * 3) % pages) * page + 64 * index
      const words = `round ${round} of ${index}.`
      await store(writer.actor, writer.memory, at, words)
      for (const [nth, { actor, memory }] of [...readers, ...writers].entries()) {
        assert.equal(await load(actor, memory, at, words.length), words, `reader ${nth} after ${words}`)
      }
    }
  }
}

test('what processes of three partitions store, processes of all of them read next', async (t) => {
  const [home, far, third] = (await startWorld(t, 3)) as [Side, Side, Side]
  const owner = home.actor
  const { memory, segid } = await share(owner, 8)
  await store(owner, memory, 5, 'before anybody came')

  const sides = [home, home, far, far, far, third]
  const accesses = ['readwrite', 'read', 'readwrite', 'readwrite', 'read', 'readwrite'] as const
  const parties: { actor: Actor; memory: number; access: string }[] = []
  for (const [index, side] of sides.entries()) {
    const access = accesses[index] ?? 'read'
    const actor = await another(t, side)
    const { attachment } = await attach(actor, segid, access)
    assert.equal(await load(actor, attachment, 5, 19), 'before anybody came')
    parties.push({ actor, memory: attachment, access })
  }
  const writers = [{ actor: owner, memory }, ...parties.filter(({ access }) => access === 'readwrite')]
  const readers = parties.filter(({ access }) => access === 'read')
  await inTurns(writers, readers, 8)
})

test('who attaches while others have pages sees what they stored last', async (t) => {
  const [home, far, third] = (await startWorld(t, 3)) as [Side, Side, Side]
  const { memory, segid } = await share(home.actor, 4)
  const first = await attach(far.actor, segid)
  await store(far.actor, first.attachment, 0, 'far')
  await store(home.actor, memory, page, 'home')
  for (const [side, access] of [
    [home, 'read'],
    [home, 'readwrite'],
    [third, 'read'],
    [far, 'read'],
    [far, 'readwrite'],
  ] as const) {
    const actor = await another(t, side)
    const { attachment } = await attach(actor, segid, access)
    assert.equal(await load(actor, attachment, 0, 3), 'far')
    assert.equal(await load(actor, attachment, page, 4), 'home')
  }
  await store(far.actor, first.attachment, page, 'gone')
  assert.equal(await load(home.actor, memory, page, 4), 'gone')
})

test('two segments on the same memory, and a part of a region, show one memory', async (t) => {
  const [home, far, third] = (await startWorld(t, 3)) as [Side, Side, Side]
  const { memory, segid } = await share(home.actor, 8)
  const address = await home.actor.call<bigint>('addressOfMemory', memory)
  const again = await home.actor.call<{ segid: bigint }>('make', memory, { mode: 0o606 })
  const part = await home.actor.call<{ segid: bigint }>('makeRange', address + BigInt(3 * page), 2 * page, {
    mode: 0o606,
  })

  const whole = await attach(far.actor, segid)
  const same = await attach(far.actor, again.segid)
  const alone = await attach(third.actor, part.segid)
  const local = await another(t, home)
  const inside = await attach(local, part.segid, 'read', { offset: page, length: page })
  const views: [Writer, number][] = [
    [{ actor: far.actor, memory: whole.attachment }, 4 * page],
    [{ actor: far.actor, memory: same.attachment }, 4 * page],
    [{ actor: third.actor, memory: alone.attachment }, page],
    [{ actor: home.actor, memory }, 4 * page],
  ]
  for (const [index, [{ actor, memory: own }, at]] of views.entries()) {
    const words = `view ${index}`
    await store(actor, own, at + 100, words)
    for (const [other, otherAt] of views) assert.equal(await load(other.actor, other.memory, otherAt + 100, 6), words)
    assert.equal(await load(local, inside.attachment, 100, 6), words)
  }
})

test('a segment is attached from afar by name, in parts, and twice', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { memory } = await share(home.actor, 16, { name: 'parts' })
  const attached: Attached[] = []
  for (const offset of [0, 4, 4, 12])
    attached.push(await attach(far.actor, 'home/parts', 'readwrite', { offset: offset * page, length: 4 * page }))
  const [first, second, twin, last] = attached.map(({ attachment }) => attachment) as [number, number, number, number]
  await store(far.actor, second, page, 'twice')
  assert.equal(await load(far.actor, twin, page, 5), 'twice')
  assert.equal(await load(home.actor, memory, 5 * page, 5), 'twice')
  await store(home.actor, memory, 0, 'first')
  await store(home.actor, memory, 15 * page, 'last')
  assert.equal(await load(far.actor, first, 0, 5), 'first')
  assert.equal(await load(far.actor, last, 3 * page, 4), 'last')
})

test('memory whose pages do not fit the cache is right all the same', async (t) => {
  const pages = 64
  const [home, far] = (await startWorld(t, 2, { args: ['--cache-bytes', `${8 * page}`] })) as [Side, Side]
  const { memory, segid } = await share(home.actor, pages)
  const { attachment } = await attach(far.actor, segid)
  await home.actor.call('fill', memory, 0, pages * page, 1)
  assert.equal(await far.actor.call('compare', attachment, 0, pages * page, 1), -1)
  await far.actor.call('fill', attachment, 0, pages * page, 2)
  assert.equal(await home.actor.call('compare', memory, 0, pages * page, 2), -1)
  const { pagesIn } = await far.actor.call<{ pagesIn: number }>('stats', attachment)
  assert(pagesIn >= 2 * pages, `${pagesIn} pages came: none was dropped`)
})

test('a part of memory that is read and written from end to end is all that is asked for', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { memory } = await share(home.actor, 64)
  const address = await home.actor.call<bigint>('addressOfMemory', memory)
  const { segid } = await home.actor.call<{ segid: bigint }>('makeRange', address + BigInt(16 * page), 21 * page, {
    mode: 0o606,
  })
  await home.actor.call('fill', memory, 16 * page, 21 * page, 5)
  const { attachment } = await attach(far.actor, segid)
  assert.equal(await far.actor.call('compare', attachment, 0, 21 * page, 5), -1)
  await far.actor.call('fill', attachment, 0, 21 * page, 6)
  assert.equal(await home.actor.call('compare', memory, 16 * page, 21 * page, 6), -1)
  const { pagesIn } = await far.actor.call<{ pagesIn: number }>('stats', attachment)
  assert.equal(pagesIn, 21)
})

test('a store at home to memory that nobody ever touched does not wait for ever', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { memory, segid } = await share(home.actor, 8)
  const { attachment } = await attach(far.actor, segid)
  assert.equal(await load(far.actor, attachment, 0, 1), '\0')
  await store(home.actor, memory, 3 * page, 'first')
  assert.equal(await load(far.actor, attachment, 3 * page, 5), 'first')
})
