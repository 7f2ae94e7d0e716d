/** The objections of 2007 that were about descriptors: no lifetime hangs on one. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Got, Made } from '../conformance/face.js'
import { startActor } from '../support/actor.js'
import { startService } from '../support/service.js'
import { until } from '../support/until.js'

async function sharing(t: TestContext) {
  const service = await startService(t)
  const owner = await startActor(t, service)
  const consumer = await startActor(t, service)
  const region = await owner.call<number>('allocate', 4096)
  const made = await owner.call<Made>('make', region, { name: 'held' })
  const permit = await consumer.call<Got>('get', 'held', 'readwrite')
  const attachment = await consumer.call<number>('attach', permit.handle)
  const works = async (word: string) => {
    await owner.call('write', region, 0, Buffer.from(word))
    assert.equal(Buffer.from(await consumer.call<Uint8Array>('read', attachment, 0, word.length)).toString(), word)
    const again = await consumer.call<Got>('get', made.segid)
    await consumer.call('attach', again.handle)
  }
  return { service, owner, consumer, region, made, attachment, works }
}

test('close(dup(fd)) in a loop over every descriptor of owner and consumer changes nothing', async (t) => {
  const { owner, consumer, works } = await sharing(t)
  await works('before')
  for (const actor of [owner, consumer]) {
    assert.ok((await actor.call<number>('closeDuplicates', 20)) >= 20 * 10)
  }
  await works('after')
  assert.deepEqual([...owner.events, ...consumer.events], [])
})

test('a child that inherits every descriptor, uses them and exits changes nothing for its parent', async (t) => {
  const { owner, works } = await sharing(t)
  await works('before')
  assert.equal(await owner.call('heir', 'use-and-exit'), 0)
  await works('after')
  assert.deepEqual(owner.events, [])
})

test('the death of an owner is seen although a child outlives it with all its descriptors', async (t) => {
  const { owner, consumer, made, attachment } = await sharing(t)
  const heir = await owner.call<number>('heir', 'outlive')
  t.after(() => process.kill(heir, 'SIGKILL'))
  await owner.end('SIGKILL')
  await until(() => consumer.events.includes(`revoked:${attachment}:owner-exit`))
  process.kill(heir, 0)
  await assert.rejects(consumer.call('get', made.segid), { code: 'ENOENT' })
})

test('a descriptor passed to a third process keeps the memory, and takes nothing along with its holder', async (t) => {
  const { service, owner, consumer, region, works } = await sharing(t)
  const third = await startActor(t, service)
  await owner.call('write', region, 0, Buffer.from('passed on'))
  const path = `${service.runtimeDir}/passing`
  await third.call('listenForDescriptor', path)
  await owner.call('passMemory', region, path)
  assert.equal(Buffer.from(await third.call<Uint8Array>('readPassed', 9)).toString(), 'passed on')
  await third.end('SIGKILL')
  await works('still')
  assert.deepEqual([...owner.events, ...consumer.events], [])
})
