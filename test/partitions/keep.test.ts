/** Attachments of memory of another partition that are kept when its owner ends. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Actor } from '../support/actor.js'
import { until } from '../support/until.js'
import type { Side } from '../xpc/pair.js'
import { ends, goesOn, keepAll, shareWords, untilLetGo } from './kept.js'
import { another, load, page, startWorld, store } from './world.js'

for (const [how, end] of Object.entries(ends)) {
  test(`a process keeps what it has of another partition's memory when its owner ${how}`, (t) =>
    goesOn(t, (side) => another(t, side), end))
}

test('nobody who waits for memory of another partition as its owner ends waits for ever, or loses a store', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const keeper = await another(t, far)
  const pages = 64
  for (let round = 0; round < 8; round += 1) {
    const owner = await another(t, home)
    const { segid } = await shareWords(owner, pages)
    const { attachment } = await keepAll(keeper, segid, pages)
    const words = (index: number) => `round ${round}, page ${index}`
    const stores = Array.from({ length: pages }, (_, index) =>
      store(keeper, attachment, index * page + 100, words(index)),
    )
    await stores[4 * round]
    await owner.end()
    await Promise.all(stores)
    await untilLetGo(far)
    for (let index = 0; index < pages; index += 1)
      assert.equal(await load(keeper, attachment, index * page + 100, words(index).length), words(index))
  }
})

test('what was kept of memory stays when its partition is lost, which takes the rest', async (t) => {
  const [home, far] = (await startWorld(t, 2)) as [Side, Side]
  const owner = await another(t, home)
  const { segid } = await shareWords(owner, 4)
  const other = await shareWords(home.actor, 4)
  const { attachment } = await keepAll(far.actor, segid, 4)
  const lost = await keepAll(far.actor, other.segid, 4)
  assert.equal(await load(far.actor, attachment, 0, 9), 'of page 0')
  await owner.end()
  await assertKept(far.actor, attachment)
  process.kill(home.service.pid, 'SIGKILL')
  await until(() => far.actor.events.includes(`revoked:${lost.attachment}:partition`))
  await assertKept(far.actor, attachment)
})

/** Its stores, too, are its own. */
async function assertKept(actor: Actor, attachment: number): Promise<void> {
  assert.equal(await load(actor, attachment, 0, 9), 'of page 0')
  await store(actor, attachment, page, 'mine')
  assert.equal(await load(actor, attachment, page, 4), 'mine')
}
