/** What those may ask for who want control of far memory: prefetch, flush, stats, snapshots. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { release } from 'node:os'
import { test } from 'node:test'
import type { AttachmentStats } from '../../src/index.js'
import type { Actor } from '../support/actor.js'
import { until } from '../support/until.js'
import { partitionOf, type Side } from '../xpc/pair.js'
import { EvilCache, filled } from './evil.js'
import { another, attach, load, memfdsOf, page, share, startWorld, store, untilAlone } from './world.js'

const statsOf = (actor: Actor, attachment: number) => actor.call<AttachmentStats>('stats', attachment)

test('pages that were prefetched for reading or writing are there without a fault', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { memory, segid } = await share(home.actor, 32)
  await home.actor.call('fill', memory, 0, 32 * page, 3)
  const { attachment } = await attach(far.actor, segid)
  assert.deepEqual(await statsOf(far.actor, attachment), {
    faults: 0,
    pagesIn: 0,
    pagesOut: 0,
    bytesIn: 0,
    bytesOut: 0,
    waitedMs: 0,
  })

  await far.actor.call('prefetch', attachment, 0, 16 * page)
  await until(async () => (await statsOf(far.actor, attachment)).pagesIn === 16)
  assert.equal(await far.actor.call('compare', attachment, 0, 16 * page, 3), -1)
  await far.actor.call('prefetch', attachment, 16 * page, 16 * page, 'write')
  await until(async () => (await statsOf(far.actor, attachment)).pagesIn === 32)
  await store(far.actor, attachment, 20 * page, 'no fault')
  const { faults, bytesIn } = await statsOf(far.actor, attachment)
  assert.deepEqual([faults, bytesIn], [0, 32 * page])

  // What was only read must be asked for when it is written.
  await store(far.actor, attachment, 0, 'a fault')
  assert.equal((await statsOf(far.actor, attachment)).faults > 0, true)
  assert.equal(await load(home.actor, memory, 20 * page, 8), 'no fault')
})

/** Bytes of a mapping that are in the page table. */
function mappedBytes(pid: number, address: bigint): number {
  const lines = readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')
  const start = lines.findIndex((line) => line.startsWith(`${address.toString(16)}-`))
  const rss = lines.slice(start).find((line) => line.startsWith('Rss:'))
  return Number(rss?.match(/\d+/)?.[0]) * 1_024
}

const [major = 0, minor = 0] = release().split('.').map(Number)
const cannotMap = major > 6 || (major === 6 && minor >= 4) ? false : 'pages are mapped ahead from Linux 6.4 on'

test('pages that come before they are used are mapped, and protected as others', { skip: cannotMap }, async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { memory, segid } = await share(home.actor, 32)
  await home.actor.call('fill', memory, 0, 32 * page, 3)
  const { attachment } = await attach(far.actor, segid)
  const address = await far.actor.call<bigint>('addressOf', attachment)
  await far.actor.call('prefetch', attachment, 0, 32 * page)
  await until(() => mappedBytes(far.actor.pid, address) === 32 * page)
  await store(far.actor, attachment, 7 * page, 'far')
  assert.equal(await load(home.actor, memory, 7 * page, 3), 'far')
  assert.equal((await statsOf(far.actor, attachment)).faults > 0, true)
})

test('a flush sends home what was changed, and only that', async (t) => {
  const [home, far] = (await startWorld(t, 2, { args: ['--flush', '3600000'] })) as [Side, Side]
  const { segid } = await share(home.actor, 16)
  const { attachment } = await attach(far.actor, segid)
  for (const at of [1, 5, 9]) await store(far.actor, attachment, at * page, 'changed')
  assert.equal((await statsOf(far.actor, attachment)).pagesOut, 0)
  await far.actor.call('flush', attachment)
  assert.equal((await statsOf(far.actor, attachment)).pagesOut, 3)
  assert.equal((await partitionOf(home.actor, 'far')).pagesIn, 3)
  await far.actor.call('flush', attachment)
  assert.equal((await statsOf(far.actor, attachment)).pagesOut, 3)
  await store(far.actor, attachment, 9 * page, 'again')
  await far.actor.call('flush', attachment)
  assert.equal((await statsOf(far.actor, attachment)).pagesOut, 4)
})

test('more pages than a link takes at once are flushed, and given back, without losing it', async (t) => {
  const pages = 20_480
  const [home, far] = (await startWorld(t, 2, { args: ['--flush', '3600000'] })) as [Side, Side]
  const { memory, segid } = await share(home.actor, pages)
  const { permit, attachment } = await attach(far.actor, segid)
  const { since } = await partitionOf(far.actor, 'home')
  for (let first = 0; first < pages; first += 2_048) {
    await far.actor.call('prefetch', attachment, first * page, 2_048 * page, 'write')
    await until(async () => (await statsOf(far.actor, attachment)).pagesIn === first + 2_048)
  }
  await far.actor.call('flush', attachment)
  assert.equal((await statsOf(far.actor, attachment)).pagesOut, pages)
  await store(far.actor, attachment, (pages - 1) * page, 'the last')
  await far.actor.call('release', permit)
  assert.equal(await load(home.actor, memory, (pages - 1) * page, 8), 'the last')
  await untilAlone(home.actor, segid)
  await until(() => memfdsOf(far.service.pid) === 0)
  const { state, since: now } = await partitionOf(far.actor, 'home')
  assert.deepEqual([state, now], ['active', since])
})

test('changed pages go home by themselves', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { segid } = await share(home.actor, 4)
  const { attachment } = await attach(far.actor, segid)
  await store(far.actor, attachment, 0, 'changed')
  await until(async () => (await statsOf(far.actor, attachment)).pagesOut === 1)
})

test('a prefetch or flush of a range that is not attached is EINVAL, of memory that is gone ENOENT', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { segid } = await share(home.actor, 4)
  const { attachment } = await attach(far.actor, segid)
  for (const [offset, length] of [
    [0, 5 * page],
    [4 * page, 1],
    [-1, 10],
    [0, 0],
    [0.5, 1],
  ]) {
    await assert.rejects(far.actor.call('prefetch', attachment, offset, length), { code: 'EINVAL' })
  }
  await assert.rejects(far.actor.call('prefetch', attachment, 0, page, 'both'), { code: 'EINVAL' })
  await far.actor.call('detach', attachment)
  for (const call of ['prefetch', 'flush', 'stats', 'refresh']) {
    await assert.rejects(far.actor.call(call, attachment), { code: 'ENOENT' })
  }
})

for (const [where, index] of [
  ['of another partition', 1],
  ['of the same partition', 0],
] as const) {
  test(`a reader ${where} that prefetches for writing is given what it may have, and nobody notices`, async (t) => {
    const sides = (await startWorld(t, 2)) as [Side, Side]
    const [home, far] = sides
    const { memory, segid } = await share(home.actor, 4)
    const writer = await attach(far.actor, segid)
    const reader = await another(t, sides[index])
    const { attachment } = await attach(reader, segid, 'read')
    const { since } = await partitionOf(far.actor, 'home')
    await reader.call('prefetch', attachment, 0, 4 * page, 'write')
    await store(home.actor, memory, 0, 'after')
    assert.equal(await load(reader, attachment, 0, 5), 'after')
    await store(far.actor, writer.attachment, 0, 'too')
    assert.equal(await load(reader, attachment, 0, 3), 'too')
    const { state, since: now } = await partitionOf(far.actor, 'home')
    assert.deepEqual([state, now], ['active', since])
  })
}

test('a snapshot shows what was there, and what is there when it is refreshed', async (t) => {
  const [home, far, third] = (await startWorld(t, 3)) as [Side, Side, Side]
  // More than is copied at once, and what the other partition has for writing.
  const pages = 600
  const { memory, segid } = await share(home.actor, pages)
  await home.actor.call('fill', memory, 0, pages * page, 4)
  const writer = await attach(third.actor, segid)
  await store(third.actor, writer.attachment, 300 * page, 'from the third')

  const local = await another(t, home)
  for (const actor of [far.actor, third.actor, local]) {
    await store(third.actor, writer.attachment, 300 * page, 'from the third')
    const { attachment } = await attach(actor, segid, 'read', { consistency: 'snapshot' })
    assert.equal(await actor.call('compare', attachment, 0, 300 * page, 4), -1)
    assert.equal(await load(actor, attachment, 300 * page, 14), 'from the third')
    await store(third.actor, writer.attachment, 300 * page, 'new')
    await store(home.actor, memory, page, 'new, too')
    assert.equal(await load(actor, attachment, 300 * page, 4), 'from')
    await actor.call('refresh', attachment)
    assert.equal(await load(actor, attachment, 300 * page, 3), 'new')
    assert.equal(await load(actor, attachment, page, 8), 'new, too')
    // What is stored to a snapshot is nobody else's.
    await actor.call('detach', attachment)
    await home.actor.call('fill', memory, 0, 300 * page, 4)
  }
})

test('a page may be stored to at home in the moment in which it comes for a snapshot', async (t) => {
  const [home, far] = (await startWorld(t, 2, { strangers: ['evil'] })) as [Side, Side]
  const { memory, segid } = await share(home.actor, 4)
  const cache = await EvilCache.attached(t, home.address, segid, 4)
  await cache.own(1)
  const snapshot = attach(far.actor, segid, 'read', { consistency: 'snapshot' })
  await cache.peer.take('recall')
  // It waits for the page, behind the snapshot: both are served when it comes.
  const local = await another(t, home)
  const { attachment } = await attach(local, segid)
  const stored = store(local, attachment, page, 'stored')
  await until(() => waiting(local.pid) > 0)
  cache.give(1, filled(66))
  await cache.peer.take('invalidate')
  cache.peer.send('invalidated', 0, cache.pages(1))
  await stored
  const copy = await snapshot
  assert.equal(await load(far.actor, copy.attachment, page, 6), 'BBBBBB')
  assert.equal(await load(home.actor, memory, page, 8), 'storedBB')
})

/** How many threads of a process wait for a page. */
const waiting = (pid: number): number =>
  readdirSync(`/proc/${pid}/task`).filter(
    (task) => readFileSync(`/proc/${pid}/task/${task}/wchan`, 'latin1') === 'handle_userfault',
  ).length
