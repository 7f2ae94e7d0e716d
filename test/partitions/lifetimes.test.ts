/** How memory of another partition ends, and what is left then. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Actor } from '../support/actor.js'
import { stop } from '../support/stop.js'
import { until } from '../support/until.js'
import type { Side } from '../xpc/pair.js'
import { another, attach, listed, load, memfdsOf, page, share, startWorld, store, told, untilAlone } from './world.js'

/** A far process that has pages of a segment, some of them for writing. */
async function farUser(side: Side, segid: bigint, actor = side.actor) {
  const attached = await attach(actor, segid)
  await load(actor, attached.attachment, 0, 10)
  await store(actor, attached.attachment, page, 'from afar')
  return { actor, ...attached }
}

const descriptorsOf = (actor: Actor, attachment: number) => actor.call('byteLength', attachment)

test('a far permit that is released takes its pages home and leaves nothing behind', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { memory, segid } = await share(home.actor, 4)
  const { actor, permit, attachment } = await farUser(far, segid)
  await actor.call('release', permit)
  assert.equal(await descriptorsOf(actor, attachment), 0)
  assert.equal(await load(home.actor, memory, page, 9), 'from afar')
  await untilAlone(home.actor, segid)
  assert.deepEqual(await listed(far.actor), [])
  await until(() => memfdsOf(far.service.pid) === 0)
  // And again from the start.
  const again = await farUser(far, segid)
  await store(home.actor, memory, 0, 'once more')
  assert.equal(await load(actor, again.attachment, 0, 9), 'once more')
})

test('an attachment that is detached ends alone: another of the process goes on', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { memory, segid } = await share(home.actor, 4)
  const { actor, permit, attachment } = await farUser(far, segid)
  const other = await actor.call<number>('attach', permit)
  await actor.call('detach', attachment)
  await store(actor, other, 2 * page, 'goes on')
  assert.equal(await load(home.actor, memory, 2 * page, 7), 'goes on')
  assert.equal(await load(actor, other, page, 9), 'from afar')
})

test('one of two far processes may release what the other goes on using', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { memory, segid } = await share(home.actor, 4)
  const stays = await farUser(far, segid)
  const goes = await farUser(far, segid, await another(t, far))
  await goes.actor.call('release', goes.permit)
  await store(home.actor, memory, page, 'from home')
  assert.equal(await load(stays.actor, stays.attachment, page, 9), 'from home')
  await store(stays.actor, stays.attachment, 0, 'still here')
  assert.equal(await load(home.actor, memory, 0, 10), 'still here')
})

for (const signal of ['SIGKILL', 'exit'] as const) {
  test(`a far process that ends by ${signal} loses nothing of what it stored`, async (t) => {
    const [home, far] = (await startWorld(t, 2, { args: ['--flush', '3600000'] })) as [Side, Side]
    const { memory, segid } = await share(home.actor, 4)
    const { actor } = await farUser(far, segid, await another(t, far))
    if (signal === 'exit') actor.call('exit').catch(() => {})
    else actor.signal(signal)
    await actor.exited
    assert.equal(await load(home.actor, memory, page, 9), 'from afar')
    await untilAlone(home.actor, segid)
    assert.deepEqual(home.actor.events, [])
    await until(async () => (await listed(far.actor)).length === 0)
  })
}

const ends: Record<string, { why: string; end: (owner: Actor, handle: number) => Promise<unknown> }> = {
  'its segment is removed': { why: 'removed', end: (owner, handle) => owner.call('remove', handle) },
  'its owner closes': { why: 'removed', end: (owner) => owner.call('close') },
  'its owner exits': {
    why: 'owner-exit',
    end: (owner) => {
      owner.call('exit').catch(() => {})
      return owner.exited
    },
  },
  'its owner is killed': { why: 'owner-exit', end: (owner) => owner.end() },
}

for (const [what, { why, end }] of Object.entries(ends)) {
  test(`a far attachment is revoked when ${what}, and says so`, async (t) => {
    const [home, far, third] = (await startWorld(t, 3)) as [Side, Side, Side]
    const owner = await another(t, home)
    const { handle, segid } = await share(owner, 4)
    const local = await another(t, home)
    const users = [await farUser(far, segid), await farUser(third, segid), await farUser(home, segid, local)]
    const reader = await attach(far.actor, segid, 'read')
    await end(owner, handle)
    for (const { actor, attachment } of [...users, { actor: far.actor, attachment: reader.attachment }]) {
      await until(() => actor.events.some((event) => event.startsWith(`revoked:${attachment}:`)))
      assert(actor.events.includes(`revoked:${attachment}:${why}`), `${actor.events}`)
      assert.equal(await actor.call('byteLength', attachment), 0)
    }
    for (const { actor } of [far, third]) {
      await until(async () => (await listed(actor)).length === 0)
      await assert.rejects(actor.call('get', segid), { code: 'ENOENT' })
    }
    for (const { service } of [home, far, third]) await until(() => memfdsOf(service.pid) === 0)
  })
}

test('what an owner shares next has nothing of what it shared before', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  for (let round = 0; round < 5; round += 1) {
    const { memory, handle, segid } = await share(home.actor, 4, { name: 'again' })
    await store(home.actor, memory, 3 * page, `round ${round}`)
    const { actor, attachment } = await farUser(far, segid)
    assert.equal(await load(actor, attachment, 3 * page, 7), `round ${round}`)
    await home.actor.call('remove', handle)
    await told(actor, new RegExp(`^revoked:${attachment}:removed$`))
    // The memory is its owner's alone, with what was stored last.
    assert.equal(await load(home.actor, memory, page, 9), 'from afar')
    await store(home.actor, memory, page, 'mine')
    assert.equal(await load(home.actor, memory, page, 4), 'mine')
  }
})

test('memory at home is ordinary again when no other partition uses it, nor a reader its copy', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { memory, segid } = await share(home.actor, 4)
  const local = await another(t, home)
  const { attachment } = await attach(local, segid)
  const faults = async () => (await local.call<{ faults: number }>('stats', attachment)).faults

  const first = await farUser(far, segid)
  await load(local, attachment, 0, 2 * page)
  assert.notEqual(await faults(), 0)
  await first.actor.call('release', first.permit)
  await until(async () => (await faults()) === 0)
  assert.equal(await load(home.actor, memory, page, 9), 'from afar')

  const reader = await another(t, home)
  const copy = await attach(reader, segid, 'read')
  const second = await farUser(far, segid)
  assert.equal(await load(reader, copy.attachment, page, 9), 'from afar')
  await second.actor.call('release', second.permit)
  await reader.end()
  await load(local, attachment, 0, 2 * page)
  await until(async () => (await faults()) === 0)
  await store(local, attachment, 0, 'ordinary')
  assert.equal(await load(home.actor, memory, 0, 8), 'ordinary')
})

test('an attach that fails since a process of the home stands still leaves the memory to the others', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { memory, segid } = await share(home.actor, 8)
  const local = await another(t, home)
  const { attachment } = await attach(local, segid)
  await stop(local.pid)
  await assert.rejects(attach(far.actor, segid), { code: 'ETIMEDOUT' })
  await store(home.actor, memory, 2 * page, 'never touched before')
  local.signal('SIGCONT')
  assert.equal(await load(local, attachment, 2 * page, 5), 'never')
  await store(local, attachment, 3 * page, 'nor this')
  assert.equal(await load(home.actor, memory, 3 * page, 8), 'nor this')
  assert.equal(await load(local, attachment, 5 * page, 1), '\0')
  const user = await farUser(far, segid)
  await store(local, attachment, 6 * page, 'goes on')
  assert.equal(await load(user.actor, user.attachment, 6 * page, 7), 'goes on')
})

test('a reader at home sees all that is stored while and after another process there stands still', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const { memory, segid } = await share(home.actor, 8)
  const reader = await another(t, home)
  const { attachment } = await attach(reader, segid, 'read')
  const local = await another(t, home)
  const written = await attach(local, segid)
  await stop(local.pid)
  await assert.rejects(attach(far.actor, segid), { code: 'ETIMEDOUT' })
  for (const words of ['one', 'two']) {
    await store(home.actor, memory, page, words)
    assert.equal(await load(reader, attachment, page, 3), words)
  }
  local.signal('SIGCONT')
  for (const words of ['six', 'ten']) {
    await store(local, written.attachment, page, words)
    assert.equal(await load(reader, attachment, page, 3), words)
  }
  const user = await farUser(far, segid)
  assert.equal(await load(reader, attachment, page, 9), 'from afar')
  await store(local, written.attachment, page, 'not far')
  assert.equal(await load(user.actor, user.attachment, page, 7), 'not far')
})
