/** Services and processes that are killed or stopped in the middle of load. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { startService, type TestService } from '../support/service.js'
import { stop } from '../support/stop.js'
import { type Side, serveArgs, untilPartition } from '../xpc/pair.js'
import { assertNothingLost, flushed, progress, startLoad, stopAll, untilRevoked, wordsAtHome } from './load.js'
import { another, attach, listed, load as loadText, page, share, startWorld, store, told, untilAlone } from './world.js'

test('a far service that is killed takes along what it had not sent, and nothing else', async (t) => {
  const load = await startLoad(t)
  const { owner, local, third, far, farToo, sides } = load
  const kept = await flushed(far)
  await sides[1].service.end('SIGKILL')
  for (const worker of [far, farToo]) await untilRevoked(worker, 'partition')
  await progress([owner, local, third])
  await stopAll([owner, local, third])
  await assertNothingLost([owner, local, third])
  const done = await far.actor.call<number>('loadDone')
  for (const word of await wordsAtHome(load, far))
    assert(kept <= word && word <= done + 1, `${kept} <= ${word} <= ${done}`)
  await untilPartition(sides[0].actor, 'far', ({ state }) => state === 'inactive')
})

/** A service in the place of the home's that was killed. */
async function startHomeAgain(t: TestContext, { service, address }: Side): Promise<TestService> {
  const options = { name: 'home', id: 1, peers: { far: undefined, third: undefined } }
  return startService(t, { ...service, args: serveArgs(options, address) })
}

test('a home service that is killed leaves the memory to its processes, and others lose it', async (t) => {
  const load = await startLoad(t)
  const { owner, local, third, far, farToo, sides, shared } = load
  const kept = await flushed(third)
  const [home] = sides
  await home.service.end('SIGKILL')
  for (const worker of [far, farToo, third]) await untilRevoked(worker, 'partition')
  await progress([owner, local])
  await stopAll([owner, local])
  await assertNothingLost([owner, local])
  for (const word of await wordsAtHome(load, third)) assert(kept <= word, `${kept} <= ${word}`)

  await startHomeAgain(t, home)
  await told(owner.actor, /^reconnected$/)
  await untilPartition(sides[1].actor, 'home', ({ state }) => state === 'active')
  const { attachment } = await attach(sides[1].actor, shared.segid)
  await store(sides[1].actor, attachment, 100, 'after the restart')
  assert.equal(await loadText(owner.actor, owner.memory, 100, 17), 'after the restart')
})

test('an owner that is killed takes its memory along, and everybody is told', async (t) => {
  const { owner, local, third, far, farToo, sides, shared } = await startLoad(t)
  await owner.actor.end()
  for (const worker of [local, third, far, farToo]) await untilRevoked(worker, 'owner-exit')
  for (const { actor } of sides) await assert.rejects(actor.call('get', shared.segid), { code: 'ENOENT' })
})

test('a far process that is killed in the middle of its stores loses none, and stops nobody', async (t) => {
  const load = await startLoad(t)
  const { owner, local, third, far, farToo } = load
  const done = await far.actor.call<number>('loadDone')
  await far.actor.end()
  const others = [owner, local, third, farToo]
  await progress(others)
  await stopAll(others)
  await assertNothingLost(others)
  const words = await wordsAtHome(load, far)
  for (const word of words) assert(word >= done, `${word} >= ${done}`)
  // It was killed in one turn.
  assert(Math.max(...words) - Math.min(...words) <= 1, `${words}`)
  assert.deepEqual(owner.actor.events, [])
})

test('a far service that stands still is given up, and comes back without its pages', async (t) => {
  const load = await startLoad(t)
  const { owner, local, third, far, farToo, sides, shared } = load
  const { service, actor } = sides[1]
  const kept = await flushed(far)
  await stop(service.pid)
  await untilPartition(sides[0].actor, 'far', ({ state }) => state === 'inactive')
  await progress([owner, local, third])
  await assertNothingLost([owner, local, third])
  for (const word of await wordsAtHome(load, far)) assert(kept <= word, `${kept} <= ${word}`)

  process.kill(service.pid, 'SIGCONT')
  for (const worker of [far, farToo]) await untilRevoked(worker, 'partition')
  await untilPartition(actor, 'home', ({ state }) => state === 'active')
  const { attachment } = await attach(actor, shared.segid)
  await store(actor, attachment, 100, 'back again')
  assert.equal(await loadText(owner.actor, owner.memory, 100, 10), 'back again')
  await stopAll([owner, local, third])
  await assertNothingLost([owner, local, third])
})

test('a home service that stands still is given up by others, and goes on with what it has', async (t) => {
  const load = await startLoad(t)
  const { owner, local, third, far, farToo, sides } = load
  const { service, actor } = sides[0]
  const kept = await flushed(third)
  await stop(service.pid)
  for (const worker of [far, farToo, third]) await untilRevoked(worker, 'partition')
  process.kill(service.pid, 'SIGCONT')
  await progress([owner, local])
  await stopAll([owner, local])
  await assertNothingLost([owner, local])
  for (const word of await wordsAtHome(load, third)) assert(kept <= word, `${kept} <= ${word}`)
  for (const name of ['far', 'third']) await untilPartition(actor, name, ({ state }) => state === 'active')
})

interface Written {
  readonly home: Side
  readonly memory: number
  readonly far: Side
  readonly attachment: number
}

/** Has pages written afar, apart from each other, so that nothing is fetched ahead. */
async function writeAfar({ home, memory, far, attachment }: Written): Promise<void> {
  for (const index of [1, 4, 7, 10, 13]) await store(far.actor, attachment, index * page, `written ${index}`)
  // Page 4 is home's again, page 7 is what home has aside; both are read as they were written.
  assert.equal(await loadText(home.actor, memory, 4 * page, 9), 'written 4')
  await far.actor.call('prefetch', attachment, 7 * page, page)
  await far.actor.call('flush', attachment)
  await store(far.actor, attachment, 7 * page, 'then this')
}

/** Home has what it had last, page by page, when what was written so is lost. */
async function assertBack(home: Side, memory: number): Promise<void> {
  const at = (index: number) => loadText(home.actor, memory, index * page, 9)
  assert.deepEqual(await Promise.all([1, 4, 7, 10, 13, 15].map(at)), [
    'written 1',
    'written 4',
    'written 7',
    'written 1',
    'written 1',
    'before 15',
  ])
}

test('what goes back when a far service is killed is named, page by page, and nothing else', async (t) => {
  const [home, far] = (await startWorld(t, 2, { args: ['--flush', '3600000'] })) as [Side, Side]
  const pages = 16
  const { memory, segid } = await share(home.actor, pages)
  for (let index = 0; index < pages; index += 1) await store(home.actor, memory, index * page, `before ${index}`)
  const { attachment } = await attach(far.actor, segid)
  await loadText(far.actor, attachment, 15 * page, 1)
  await writeAfar({ home, memory, far, attachment })
  await far.service.end('SIGKILL')
  await told(far.actor, /^revoked:\d+:partition$/)
  await assertBack(home, memory)
  const named = await told(home.actor, /^rolledBack:/, 4)
  assert.deepEqual(
    named,
    [1, 7, 10, 13].map((index) => `rolledBack:${segid}:${index * page}:${page}`),
  )
  await untilAlone(home.actor, segid)
})

test('what was never sent goes back to what it was when it was given away', async (t) => {
  const [home, far, third] = (await startWorld(t, 3, { args: ['--flush', '3600000'] })) as [Side, Side, Side]
  const { memory, segid } = await share(home.actor, 8)
  const first = await attach(far.actor, segid)
  const second = await attach(third.actor, segid)
  await store(third.actor, second.attachment, page, 'third')
  await store(far.actor, first.attachment, page, 'wrong')
  await store(far.actor, first.attachment, 5 * page, 'wrong')
  await store(third.actor, second.attachment, 3 * page, 'stays')
  await far.service.end('SIGKILL')
  await told(far.actor, /^revoked:\d+:partition$/)
  assert.equal(await loadText(third.actor, second.attachment, page, 5), 'third')
  assert.equal(await loadText(home.actor, memory, page, 5), 'third')
  assert.equal(await loadText(home.actor, memory, 5 * page, 5), '\0\0\0\0\0')
  assert.equal(await loadText(home.actor, memory, 3 * page, 5), 'stays')
  assert.deepEqual(
    await told(home.actor, /^rolledBack:/, 2),
    [1, 5].map((index) => `rolledBack:${segid}:${index * page}:${page}`),
  )
})

test('a far service that ends in order sends home what was changed first', async (t) => {
  const [home, far] = (await startWorld(t, 2, { args: ['--flush', '3600000'] })) as [Side, Side]
  const { memory, segid } = await share(home.actor, 4)
  const { attachment } = await attach(far.actor, segid)
  await store(far.actor, attachment, page, 'from afar')
  await far.service.end('SIGTERM')
  await told(far.actor, /^revoked:\d+:partition$/)
  assert.equal(await loadText(home.actor, memory, page, 9), 'from afar')
  assert.deepEqual(home.actor.events, [])
})

for (const { what, call, size } of [
  { what: 'a region', call: 'allocate', size: 16 * page },
  { what: 'memory that was moved', call: 'wasm', size: 1 },
]) {
  test(`what goes back when the home's service is killed is named by the next, page by page: ${what}`, async (t) => {
    const [home, far] = (await startWorld(t, 2, { args: ['--flush', '3600000'] })) as [Side, Side]
    const memory = await home.actor.call<number>(call, size)
    const { segid } = await home.actor.call<{ segid: bigint }>('make', memory, { mode: 0o606 })
    for (let index = 0; index < 16; index += 1) await store(home.actor, memory, index * page, `before ${index}`)
    // Whose agent may put pages back before the owner's does.
    const local = await another(t, home)
    await attach(local, segid)
    const { attachment } = await attach(far.actor, segid)
    await writeAfar({ home, memory, far, attachment })
    await store(far.actor, attachment, 10 * page, 'written 10')
    await home.service.end('SIGKILL')
    await told(far.actor, /^revoked:\d+:partition$/)
    await assertBack(home, memory)
    const next = await startHomeAgain(t, home)
    const named = [1, 7, 10, 13].map((index) => `rolledBack:${segid}:${index * page}:${page}:of unknown age`)
    assert.deepEqual(await told(home.actor, /^rolledBack:/, 4), named)
    await told(local, /^reconnected$/)
    await next.end('SIGKILL')
    await startHomeAgain(t, home)
    // The owner's agent, which is asked for the memory, has told by then what there is to tell.
    await untilPartition(far.actor, 'home', ({ state }) => state === 'active')
    await attach(far.actor, segid)
    await listed(home.actor)
    assert.deepEqual(await told(home.actor, /^rolledBack:/, 4), named, 'nothing is named twice')
    await told(local, /^reconnected$/, 2)
    assert.deepEqual(local.events, ['disconnected', 'reconnected', 'disconnected', 'reconnected'])
  })
}
