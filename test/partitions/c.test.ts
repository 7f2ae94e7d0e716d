/** C programs and processes in JavaScript that share memory across partitions. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { forkCActor, startCActor } from '../support/c-actor.js'
import { until } from '../support/until.js'
import { partitionOf, type Side } from '../xpc/pair.js'
import { ends, goesOn } from './kept.js'
import { another, attach, load, page, startWorld, store, unreadBytes } from './world.js'

/** The number of mremap(2), as /proc tells it. */
const mremapCall = process.arch === 'arm64' ? '216' : '25'

const startC = (t: Parameters<typeof startCActor>[0], { service }: Side, env = {}) =>
  startCActor(t, { runtimeDir: service.runtimeDir, partition: service.partition, env })

test('a C program attaches memory of another partition by its segid, and both see what the other stores', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const memory = await home.actor.call<number>('allocate', 8 * page)
  const { handle, segid } = await home.actor.call<{ handle: number; segid: bigint }>('make', memory, { mode: 0o606 })
  const program = await startC(t, far)
  const { permit, attachment } = await attach(program, segid, 'readwrite', { length: 8 * page })
  for (let round = 0; round < 4; round += 1) {
    await home.actor.call('fill', memory, 0, 8 * page, 2 * round)
    assert.equal(await program.call('compare', attachment, 0, 8 * page, 2 * round), -1)
    await program.call('fill', attachment, 0, 8 * page, 2 * round + 1)
    assert.equal(await home.actor.call('compare', memory, 0, 8 * page, 2 * round + 1), -1)
  }
  const reader = await attach(program, segid, 'read', { length: 8 * page })
  assert.equal(await program.call('compare', reader.attachment, 0, 8 * page, 7), -1)
  await store(home.actor, memory, 0, 'to the reader')
  assert.equal(await load(program, reader.attachment, 0, 13), 'to the reader')
  await program.call('release', permit)

  await home.actor.call('remove', handle)
  await program.call('untilRevoked', reader.attachment)
  await program.call('untilGone', segid)
})

test('memory of a C program, moved when it is attached from afar, is one memory in all of three partitions', async (t) => {
  const [home, far, third] = (await startWorld(t, 3)) as [Side, Side, Side]
  const owner = await startC(t, home)
  const memory = await owner.call<number>('live', 16 * page)
  await owner.call('fill', memory, 0, 16 * page, 1)
  const { handle, segid } = await owner.call<{ handle: number; segid: bigint }>('make', memory, { mode: 0o606 })
  const local = await another(t, home)
  const views = [{ actor: owner as Parameters<typeof load>[0], memory }]
  for (const actor of [far.actor, third.actor, local, await startC(t, third)]) {
    const { attachment } = await attach(actor, segid, 'readwrite', { length: 16 * page })
    assert.equal(await actor.call('compare', attachment, 0, 16 * page, 1), -1)
    views.push({ actor, memory: attachment })
  }
  for (const [index, writer] of views.entries()) {
    const words = `written by ${index}`
    await store(writer.actor, writer.memory, index * page + 7, words)
    for (const { actor, memory: own } of views)
      assert.equal(await load(actor, own, index * page + 7, words.length), words)
  }
  await owner.call('remove', handle)
  await until(() => far.actor.events.some((event) => /^revoked:\d+:removed$/.test(event)))
  assert.equal(await load(owner, memory, 7, 12), 'written by 0')
})

test('a C program that forks while another partition has pages of its memory sees them when they come back', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const owner = await startC(t, home)
  const memory = await owner.call<number>('live', 64 * page)
  await owner.call('fill', memory, 0, 64 * page, 1)
  const { segid } = await owner.call<{ segid: bigint }>('make', memory, { mode: 0o606 })
  const writer = await attach(far.actor, segid, 'readwrite', { length: 64 * page })
  for (const [first, count] of [
    [3, 1],
    [8, 2],
    [30, 20],
  ] as const) {
    await far.actor.call('fill', writer.attachment, first * page, count * page, 2)
  }
  const child = await forkCActor(t, owner)
  assert.equal(await child.call('compare', memory, 0, 3 * page, 1), -1)
  await child.call('fill', memory, 0, 64 * page, 9)
  await child.end()
  for (const [first, count] of [
    [3, 1],
    [8, 2],
    [30, 20],
  ] as const) {
    assert.equal(await owner.call('compare', memory, first * page, count * page, 2), -1)
  }
  assert.equal(await owner.call('compare', memory, 0, 3 * page, 1), -1)
})

test('a C program at home may only read and sees what is stored afar', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const memory = await home.actor.call<number>('allocate', 4 * page)
  const { segid } = await home.actor.call<{ segid: bigint }>('make', memory, { mode: 0o606 })
  const before = await startC(t, home)
  const early = await attach(before, segid, 'read', { length: 4 * page })
  const writer = await attach(far.actor, segid)
  const after = await startC(t, home)
  const late = await attach(after, segid, 'read', { length: 4 * page })
  for (let round = 0; round < 5; round += 1) {
    const words = `round ${round}`
    await store(far.actor, writer.attachment, round * 700, words)
    assert.equal(await load(before, early.attachment, round * 700, 7), words)
    assert.equal(await load(after, late.attachment, round * 700, 7), words)
  }
})

for (const [how, end] of Object.entries(ends)) {
  test(`a C program keeps what it has of another partition's memory when its owner ${how}`, (t) =>
    goesOn(t, (side) => startC(t, side, { XPMEM_OWNER_EXIT: 'keep' }), end))
}

test('a C program that makes memory writable which it may only read stops nobody but itself', async (t) => {
  for (const index of [0, 1] as const) {
    const sides = (await startWorld(t, 2)) as [Side, Side]
    const [home, far] = sides
    const memory = await home.actor.call<number>('allocate', page)
    const { segid } = await home.actor.call<{ segid: bigint }>('make', memory, { mode: 0o606 })
    const writer = await attach(far.actor, segid)
    await store(far.actor, writer.attachment, 0, 'from afar')
    const program = await startC(t, sides[index])
    const { attachment } = await attach(program, segid, 'read', { length: page })
    const { since } = await partitionOf(far.actor, 'home')
    assert.equal(await load(program, attachment, 0, 9), 'from afar')
    await program.call('mprotect', attachment, 0, page, 'rw')
    program.call('write', attachment, 0, Buffer.from('mine')).catch(() => {})
    // It waits, or writes to its own copy; the others go on.
    for (const words of ['goes on', 'still..']) {
      await store(far.actor, writer.attachment, 0, words)
      assert.equal(await load(home.actor, memory, 0, 7), words)
    }
    const { state, since: now } = await partitionOf(far.actor, 'home')
    assert.deepEqual([state, now], ['active', since])
    await program.end()
  }
})

test('memory that a program is moving keeps its service from nothing that is asked of it', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const memory = await home.actor.call<number>('allocate', page)
  const { segid } = await home.actor.call<{ segid: bigint }>('make', memory, { mode: 0o606 })
  const program = await startC(t, far)
  const { attachment } = await attach(program, segid, 'readwrite', { length: page })
  for (let round = 0; round < 4; round += 1) {
    const words = `round ${round}`
    await store(program, attachment, 0, words)
    process.kill(far.service.pid, 'SIGSTOP')
    // It finds that home wants the page and that memory moves, in this order.
    const before = unreadBytes(far.service.pid)
    const loaded = load(home.actor, memory, 0, words.length)
    await until(() => unreadBytes(far.service.pid) > before)
    const moved = program.call('move', attachment)
    await until(() => isMoving(program.pid))
    process.kill(far.service.pid, 'SIGCONT')
    assert.equal(await loaded, words)
    await moved
    assert.equal(await load(program, attachment, 0, words.length), words)
  }
})

test('what is left of memory that its owner has unmapped, or mapped anew, in pieces is one memory', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const owner = await startC(t, home)
  const [pieces, pagesOfPiece] = [16, 8]
  const length = pieces * pagesOfPiece * page
  const memory = await owner.call<number>('live', length)
  await owner.call('fill', memory, 0, length, 1)
  const { segid } = await owner.call<{ segid: bigint }>('make', memory, { mode: 0o606 })
  const { attachment } = await attach(far.actor, segid)
  for (let piece = 0; piece < pieces; piece += 1) {
    const begin = piece * pagesOfPiece * page
    await owner.call('munmap', memory, begin, 3 * page)
    if (piece % 2 === 0) await owner.call('mapAnewAt', memory, begin, 3 * page)
  }
  // Its pages come in runs that begin anywhere.
  assert.equal(await far.actor.call('compare', attachment, 0, length, 1), -1)
  for (const seed of [2, 3]) {
    for (let piece = 0; piece < pieces; piece += 1) {
      const [begin, rest] = [(piece * pagesOfPiece + 3) * page, 5 * page]
      await owner.call('fill', memory, begin, rest, seed)
      assert.equal(await far.actor.call('compare', attachment, begin, rest, seed), -1, `piece ${piece}`)
    }
  }
})

/** Whether a thread of a process waits until it is known where it moves memory. */
function isMoving(pid: number): boolean {
  return readdirSync(`/proc/${pid}/task`).some((thread) => {
    const [call] = readFileSync(`/proc/${pid}/task/${thread}/syscall`, 'utf8').split(' ')
    return call === mremapCall
  })
}
