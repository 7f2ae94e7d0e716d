/** What is left of memory of another partition in processes that keep it when its owner ends. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { Actor } from '../support/actor.js'
import type { CActor } from '../support/c-actor.js'
import { until } from '../support/until.js'
import type { Side } from '../xpc/pair.js'
import { another, attach, load, memfdsOf, page, share, startWorld, store } from './world.js'

type Keeper = Actor | CActor

/** How an owner's process ends. */
export const ends: Record<string, (owner: Actor) => Promise<unknown>> = {
  exits: (owner) => {
    owner.call('exit').catch(() => {})
    return owner.exited
  },
  'is killed': (owner) => owner.end(),
}

/** Pages of an owner's memory, each with words of its own. */
export async function shareWords(owner: Actor, pages: number) {
  const shared = await share(owner, pages)
  for (let index = 0; index < pages; index += 1) await store(owner, shared.memory, index * page, `of page ${index}`)
  return shared
}

export const keepAll = (actor: Keeper, segid: bigint, pages: number, access: 'read' | 'readwrite' = 'readwrite') =>
  attach(actor, segid, access, { length: pages * page, onOwnerExit: 'keep' })

/** Waits until a service has let go of all memory. */
export const untilLetGo = ({ service }: Side) => until(() => memfdsOf(service.pid) === 0)

/** Processes of two partitions go on with what they have when the owner, in a third process, has ended. */
export async function goesOn(
  t: TestContext,
  start: (side: Side) => Promise<Keeper>,
  end: (owner: Actor) => Promise<unknown>,
): Promise<void> {
  // What is changed goes home when the owner ends, and not before.
  const [home, far] = (await startWorld(t, 2, { args: ['--flush', '3600000'] })) as [Side, Side]
  const owner = await another(t, home)
  const { segid } = await shareWords(owner, 64)
  const local = await another(t, home)
  const atHome = await keepAll(local, segid, 64)
  const [keeper, second] = [await start(far), await start(far)]
  const { permit, attachment } = await keepAll(keeper, segid, 64)
  const beside = await keepAll(second, segid, 64)
  const reader = await keepAll(second, segid, 64, 'read')
  for (const index of [0, 1]) assert.equal(await load(keeper, attachment, index * page, 9), `of page ${index}`)
  await store(keeper, attachment, 2 * page, 'from afar')
  for (const index of [0, 2]) await load(second, reader.attachment, index * page, 9)
  await store(keeper, attachment, 3 * page, 'unsent')

  await end(owner)
  await untilLetGo(far)
  const words = ['of page 0', 'of page 1', 'from afar', 'unsent']
  for (const [index, expected] of words.entries()) {
    assert.equal(await load(keeper, attachment, index * page, expected.length), expected)
    assert.equal(await load(second, beside.attachment, index * page, expected.length), expected)
    assert.equal(await load(local, atHome.attachment, index * page, expected.length), expected)
  }
  assert.equal(await load(second, reader.attachment, 0, 9), 'of page 0')
  assert.equal(await load(second, reader.attachment, 2 * page, 9), 'from afar')
  assert.equal(await load(keeper, attachment, 63 * page, 9), '\0'.repeat(9))
  for (const index of [0, 1, 2, 3, 62, 63]) {
    const mine = `mine ${index}`
    await store(keeper, attachment, index * page, mine)
    assert.equal(await load(second, beside.attachment, index * page, mine.length), mine)
  }
  await assert.rejects(keeper.call('get', segid), { code: 'ENOENT' })
  await keeper.call('release', permit)
  assert.equal(await keeper.call('mapped', 'memfd:xpmem'), 0)
  assert.equal(await load(second, beside.attachment, 0, 6), 'mine 0')
}
