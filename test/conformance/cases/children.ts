import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import {
  attach,
  attachedPair,
  type Case,
  type Face,
  type Got,
  type Made,
  on,
  type Process,
  read,
  write,
} from '../face.js'

/** A C owner with attached memory of several kinds, each holding 'before', and its forked child. */
async function forkedOwner(face: Face) {
  const owner = await face.startOwner()
  const consumer = await face.startConsumer()
  const { segid } = await owner.call<Made>('makeEverything')
  const permit = await consumer.call<Got>('get', segid, 'readwrite')
  const shared: { kind: string; memory: number; attachment: number }[] = []
  for (const kind of ['anonymous', 'malloc', 'bss', 'data']) {
    const memory = await owner.call<number>('memory', kind, 8 * face.pageSize)
    const address = await owner.call<bigint>('addressOfMemory', memory)
    const inPage = address % BigInt(face.pageSize)
    const options = { offset: Number(address - inPage), length: 2 * face.pageSize }
    await write(owner, memory, 0, 'before')
    const whole = await attach(consumer, permit, options)
    shared.push({ kind, memory, attachment: whole })
    assert.equal(await read(consumer, whole, Number(inPage), 6), 'before')
  }
  const inPages = new Map<number, number>()
  for (const { memory } of shared) {
    inPages.set(memory, Number((await owner.call<bigint>('addressOfMemory', memory)) % BigInt(face.pageSize)))
  }
  const child = await face.fork(owner)
  return { owner, consumer, child, shared, segid, at: (memory: number) => inPages.get(memory) as number }
}

async function assertWorks(face: Face, owner: Process, consumer: Process): Promise<void> {
  const memory = await owner.call<number>('allocate', face.pageSize)
  const made = await owner.call<Made>('make', memory)
  const permit = await consumer.call<Got>('get', made.segid, 'readwrite')
  const attachment = await attach(consumer, permit, { length: face.pageSize })
  await write(owner, memory, 0, 'works')
  assert.equal(await read(consumer, attachment, 0, 5), 'works')
  await owner.call('remove', made.handle)
}

/** The rows of the third table that are about children. */
export const childCases: Case[] = [
  {
    row: 'popen',
    name: 'children that run other programs change nothing for an owner, between make and get or later',
    on: on.cOwner,
    async run(face) {
      const { owner, consumer, region, made, attachment, length } = await attachedPair(face)
      for (const way of ['popen', 'system', 'posix_spawn', 'vfork', 'fork']) {
        const fresh = await owner.call<number>('allocate', length)
        const between = await owner.call<Made>('make', fresh)
        assert.equal(await owner.call('spawn', way), 'exit 0', way)
        await write(owner, region, 0, way)
        assert.equal(await read(consumer, attachment, 0, way.length), way)
        await write(owner, fresh, 0, way)
        const permit = await consumer.call<Got>('get', between.segid, 'readwrite')
        assert.equal(await read(consumer, await attach(consumer, permit, { length }), 0, way.length), way)
      }
      await consumer.call<Got>('get', made.segid)
    },
  },
  {
    row: 'popen',
    name: 'a child that inherits the descriptors of an owner and uses them changes nothing for it',
    on: on.typeScriptOwner,
    async run(face) {
      const { owner, consumer, region, made, attachment } = await attachedPair(face)
      assert.equal(await owner.call('heir', 'use-and-exit'), 0)
      await write(owner, region, 0, 'still')
      assert.equal(await read(consumer, attachment, 0, 5), 'still')
      await consumer.call<Got>('get', made.segid)
    },
  },
  {
    row: 'fork owner',
    name: 'after a fork of the owner, owner and attacher see what the other writes',
    on: on.cOwner,
    async run(face) {
      const { owner, consumer, shared, at } = await forkedOwner(face)
      for (const { kind, memory, attachment } of shared) {
        await write(owner, memory, 0, 'parent')
        assert.equal(await read(consumer, attachment, at(memory), 6), 'parent', kind)
        await write(consumer, attachment, at(memory), 'reader')
        assert.equal(await read(owner, memory, 0, 6), 'reader', kind)
      }
    },
  },
  {
    row: 'fork owner',
    name: 'a forked child has its own copy, as memory was at the fork, whoever writes first',
    on: on.cOwner,
    async run(face) {
      const { owner, consumer, child, shared, at } = await forkedOwner(face)
      for (const { kind, memory, attachment } of shared) {
        await write(owner, memory, 0, 'parent')
        await write(consumer, attachment, at(memory) + 8, 'reader')
        assert.equal(await read(child, memory, 0, 6), 'before', kind)
        assert.notEqual(await read(child, memory, 8, 6), 'reader', kind)
        await write(child, memory, 16, 'child')
        assert.equal(await read(child, memory, 16, 5), 'child', kind)
        assert.notEqual(await read(owner, memory, 16, 5), 'child', kind)
        assert.notEqual(await read(consumer, attachment, at(memory) + 16, 5), 'child', kind)
      }
    },
  },
  {
    row: 'fork owner',
    name: 'a forked child has no agent and opens a session of its own at its first call',
    on: on.cOwner,
    async run(face) {
      const { owner, consumer, child, shared, segid, at } = await forkedOwner(face)
      assert.equal(readdirSync(`/proc/${child.pid}/task`).length, 1)
      const { memory, attachment } = shared[0] as (typeof shared)[0]
      await write(owner, memory, 0, 'parent')
      await assertWorks(face, child, consumer)
      await assertWorks(face, owner, consumer)
      // The child is somebody else to the service: it may get its parent's segment, not remove it.
      await assert.rejects(child.call('removeSegid', segid), { code: 'EACCES' })
      const permit = await child.call<Got>('get', segid, 'readwrite')
      const address = await owner.call<bigint>('addressOfMemory', memory)
      const mine = await attach(child, permit, { offset: Number(address), length: face.pageSize })
      assert.equal(await read(child, mine, 0, 6), 'parent')
      await write(child, mine, 0, 'child!')
      assert.equal(await read(consumer, attachment, at(memory), 6), 'child!')
      await child.end()
      await owner.call('reap', child.pid)
      assert.equal(await read(owner, memory, 0, 6), 'child!')
      await assertWorks(face, owner, consumer)
    },
  },
  {
    row: 'fork owner',
    name: 'when an owner ends, a child that it forked does not keep its segments alive',
    on: on.cOwner,
    async run(face) {
      const { owner, consumer, child, shared, segid } = await forkedOwner(face)
      owner.signal('SIGKILL')
      await owner.exited
      await consumer.call('untilGone', segid)
      for (const { attachment } of shared) await consumer.call('untilRevoked', attachment)
      await assertWorks(face, child, consumer)
    },
  },
]
