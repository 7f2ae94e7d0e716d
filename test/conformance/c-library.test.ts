/** What libxpmem does beside the rows of the semantics: its service, its environment, threads, stopped owners. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { endServices } from '../cli/cli.js'
import { startActor } from '../support/actor.js'
import { type CActorOptions, sanitizers, startCActor } from '../support/c-actor.js'
import { cliPath, runtimeDirectory, startService } from '../support/service.js'
import { stop } from '../support/stop.js'
import { until } from '../support/until.js'
import { attach, code, type Got, type Made, type Process, read, write } from './face.js'

const page = 4096

async function offered(owner: Process, bytes = 4 * page) {
  const memory = await owner.call<number>('allocate', bytes)
  const made = await owner.call<Made>('make', memory)
  return { memory, ...made }
}

const starters = {
  C: (t: TestContext, options: CActorOptions) => startCActor(t, options),
  TypeScript: (t: TestContext, options: CActorOptions) => startActor(t, options),
}

/** Why a C program that may start the service cannot run here. */
const unstarted = sanitizers.includes('thread')
  ? 'not with -fsanitize=thread: it takes a process that shares memory with its parent for a fork of it, and then ' +
    'misses what locks say in the parent'
  : false
if (unstarted) console.log(`NOT RUN, two tests in which C programs start the service: ${unstarted}`)

test('the first call of a C program starts the service if none runs', { skip: unstarted }, async (t) => {
  const runtimeDir = runtimeDirectory(t)
  const owner = await startCActor(t, { runtimeDir, autoStart: true, env: { XPMEM_COMMAND: cliPath } })
  // After its clients, which are ended before.
  t.after(() => endServices(runtimeDir))
  const { memory, segid } = await offered(owner)
  await write(owner, memory, 0, 'started')
  for (const start of [startCActor, startActor]) {
    const consumer = await start(t, { runtimeDir })
    const permit = await consumer.call<Got>('get', segid)
    assert.equal(await read(consumer, await attach(consumer, permit, { length: page }), 0, 7), 'started')
    await consumer.end()
  }
  await owner.end()
})

test('a C program uses the partition that XPMEM_PARTITION names', async (t) => {
  const runtimeDir = runtimeDirectory(t)
  await startService(t, { runtimeDir, partition: 'green' })
  await startService(t, { runtimeDir })
  const owner = await startCActor(t, { runtimeDir, partition: 'green' })
  const { segid } = await offered(owner)
  const same = await startCActor(t, { runtimeDir, partition: 'green' })
  const other = await startCActor(t, { runtimeDir })
  await same.call<Got>('get', segid)
  await assert.rejects(other.call('get', segid), code('ENOENT'))
})

test('with an XPMEM_COMMAND that is no program the first call is ENOENT, and silent', async (t) => {
  const runtimeDir = runtimeDirectory(t)
  const actor = await startCActor(t, { runtimeDir, env: { XPMEM_COMMAND: '/nonexistent/xpmem' } })
  const memory = await actor.call<number>('allocate', page)
  await assert.rejects(actor.call('make', memory), code('ENOENT'))
  await assert.rejects(actor.call('get', 5n), code('ENOENT'))
  await actor.end()
  assert.equal(actor.complaints(), '')
  assert.ok(!existsSync(join(runtimeDir, 'default.sock')))
})

test('XPMEM_DEBUG=1 says on standard error, in a line, why a call failed', async (t) => {
  const runtimeDir = runtimeDirectory(t)
  const env = { XPMEM_COMMAND: '/nonexistent/xpmem', XPMEM_DEBUG: '1' }
  const actor = await startCActor(t, { runtimeDir, env })
  const memory = await actor.call<number>('allocate', page)
  await assert.rejects(actor.call('make', memory), code('ENOENT'))
  await actor.end()
  assert.match(actor.complaints(), /^xpmem: make: ENOENT: .*\/nonexistent\/xpmem.*$/m)
})

test('an attach of what is shared, with a permit in hand, needs nothing of the owner: it may be stopped', async (t) => {
  const { runtimeDir } = await startService(t)
  for (const language of ['C', 'TypeScript'] as const) {
    const owner = await startCActor(t, { runtimeDir })
    const first = await startCActor(t, { runtimeDir })
    const second = await starters[language](t, { runtimeDir })
    const memory = await owner.call<number>('memory', 'anonymous', 2 ** 23)
    await write(owner, memory, 0, 'shared before')
    const { segid } = await owner.call<Made>('make', memory)
    const permits = {
      first: await first.call<Got>('get', segid, 'readwrite'),
      second: await second.call<Got>('get', segid, 'readwrite'),
    }
    await attach(first, permits.first, { length: 2 * page })
    await stop(owner.pid)
    const attachment = await attach(second, permits.second, { length: 2 * page })
    assert.equal(await read(second, attachment, 0, 13), 'shared before')
    await write(second, attachment, page, 'in your sleep')
    // What was never shared needs the owner: it lies far from the chunk that was moved.
    const far = { offset: 2 ** 22, length: page }
    await assert.rejects(attach(second, permits.second, far), code('ETIMEDOUT'))
    owner.signal('SIGCONT')
    assert.equal(await read(owner, memory, page, 13), 'in your sleep')
    await attach(second, permits.second, far)
  }
})

test('C processes start the next service when theirs dies; segids and permits are the same with it', {
  skip: unstarted,
}, async (t) => {
  const runtimeDir = runtimeDirectory(t)
  const service = await startService(t, { runtimeDir })
  const owner = await startCActor(t, { runtimeDir, autoStart: true, env: { XPMEM_COMMAND: cliPath } })
  const consumer = await startCActor(t, { runtimeDir, autoStart: true, env: { XPMEM_COMMAND: cliPath } })
  t.after(() => endServices(runtimeDir))
  const { memory, segid, handle } = await offered(owner)
  const permit = await consumer.call<Got>('get', segid, 'readwrite')
  const attachment = await attach(consumer, permit, { length: page })
  await service.end('SIGKILL')
  await write(owner, memory, 0, 'nobody serves')
  assert.equal(await read(consumer, attachment, 0, 13), 'nobody serves')
  const again = await consumer.call<Got>('get', segid, 'readwrite')
  const second = await attach(consumer, permit, { offset: page, length: page })
  await write(consumer, second, 0, 'old permit')
  assert.equal(await read(owner, memory, page, 10), 'old permit')
  const third = await attach(consumer, again, { length: page })
  assert.equal(await read(consumer, third, 0, 13), 'nobody serves')
  const fresh = await offered(owner)
  await consumer.call<Got>('get', fresh.segid)
  await owner.call('remove', handle)
  for (const old of [attachment, second, third]) {
    await assert.rejects(read(consumer, old, 0, 1), code('SIGBUS'))
  }
  for (const process of [owner, consumer]) await process.end()
})

for (const [ownerLanguage, consumerLanguage] of [
  ['C', 'C'],
  ['C', 'TypeScript'],
  ['TypeScript', 'C'],
] as const) {
  test(`a service that is replaced: ${ownerLanguage} owner and ${consumerLanguage} consumer go on`, async (t) => {
    const runtimeDir = runtimeDirectory(t)
    const service = await startService(t, { runtimeDir })
    const owner = await starters[ownerLanguage](t, { runtimeDir })
    const consumer = await starters[consumerLanguage](t, { runtimeDir })
    const { memory, segid } = await offered(owner)
    const permit = await consumer.call<Got>('get', segid, 'readwrite')
    const attachment = await attach(consumer, permit, { length: page })
    await service.end('SIGKILL')
    await startService(t, { runtimeDir })
    const second = await attach(consumer, permit, { offset: page, length: page })
    await write(consumer, attachment, 0, 'one')
    await write(consumer, second, 0, 'two')
    assert.equal(await read(owner, memory, 0, 3), 'one')
    assert.equal(await read(owner, memory, page, 3), 'two')
    const late = await starters[consumerLanguage](t, { runtimeDir })
    await late.call<Got>('get', segid, 'readwrite')
    await owner.end('SIGKILL')
    await consumer.call('untilRevoked', attachment)
  })
}

test('8 threads make, get, attach, detach, release and remove at once, each its own', async (t) => {
  const { runtimeDir } = await startService(t)
  const actor = await startCActor(t, { runtimeDir })
  await actor.call('crowd', 8, 40)
  const witness = await startActor(t, { runtimeDir })
  assert.deepEqual(await witness.call('list'), [])
})

test('8 threads of each of two processes attach one segment at once, and no count is lost', async (t) => {
  const { runtimeDir } = await startService(t)
  const owner = await startCActor(t, { runtimeDir })
  const consumers = [await startCActor(t, { runtimeDir }), await startCActor(t, { runtimeDir })]
  const { memory, segid } = await offered(owner, page)
  await Promise.all(consumers.map((consumer) => consumer.call('crowd', 8, 50, { segid })))
  const counts = new Uint32Array((await owner.call<Uint8Array>('read', memory, 0, 32)).slice().buffer)
  assert.deepEqual([...counts], Array(8).fill(100))
})

test('the first calls of 8 threads, at once, open one session', async (t) => {
  const { runtimeDir } = await startService(t)
  const owner = await startCActor(t, { runtimeDir })
  const { segid } = await offered(owner, page)
  for (let round = 0; round < 5; round += 1) {
    const consumer = await startCActor(t, { runtimeDir })
    await consumer.call('crowd', 8, 1, { segid })
    await consumer.end()
  }
})

test('the version is that of the interface, 2.6.5, if there is a service, and ENOENT if none can be had', async (t) => {
  const { runtimeDir } = await startService(t)
  assert.equal(await (await startCActor(t, { runtimeDir })).call('version'), 0x00026005)
  const alone = await startCActor(t, { runtimeDir: runtimeDirectory(t) })
  await assert.rejects(alone.call('version'), code('ENOENT'))
})

/** How many memfds a process has open. */
function openMemfds(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).filter((number) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${number}`).startsWith('/memfd:xpmem ')
    } catch {
      return false
    }
  }).length
}

test('memory that was moved is given back when its owner has unmapped it and nobody attaches it any more', async (t) => {
  const { runtimeDir } = await startService(t)
  const owner = await startCActor(t, { runtimeDir })
  const consumer = await startActor(t, { runtimeDir })
  const service = await consumer.call<number>('servicePid')
  const { segid } = await owner.call<Made>('makeEverything')
  const permit = await consumer.call<Got>('get', segid, 'readwrite')
  const memory = await owner.call<number>('memory', 'anonymous', 4 * page)
  await owner.call('fill', memory, 0, 4 * page, 1)
  const offset = Number(await owner.call<bigint>('addressOfMemory', memory))
  const attachment = await attach(consumer, permit, { offset, length: 4 * page })
  assert.equal(openMemfds(service), 2)
  const open = openMemfds(owner.pid)
  await owner.call('munmap', memory, 0, 4 * page)
  await until(() => openMemfds(service) === 0 && openMemfds(owner.pid) === open - 1)
  assert.equal(await consumer.call('compare', attachment, 0, 4 * page, 1), -1)
})
