import assert from 'node:assert/strict'
import {
  assertRevoked,
  assertUnmapped,
  attach,
  attachedPair,
  type Case,
  code,
  on,
  type Process,
  pair,
  read,
  write,
} from '../face.js'

const addressOf = (process: Process, attachment: number) => process.call<bigint>('addressOf', attachment)

/** The second table of the semantics, from detach on. */
export const detachCases: Case[] = [
  {
    row: 'detach inside',
    name: 'detach with an address inside an attachment ends the whole of it, and no other',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, region, permit, attachment, length } = await attachedPair(face)
      const other = await attach(consumer, permit, { length })
      const address = await addressOf(consumer, attachment)
      await consumer.call('detachAddress', address + BigInt(2 * face.pageSize) + 5n)
      await assertUnmapped(consumer, attachment, address)
      for (const page of [1n, 2n, 3n]) {
        assert.equal(await consumer.call('isMapped', address + page * BigInt(face.pageSize)), false)
      }
      await write(owner, region, 0, 'other')
      assert.equal(await read(consumer, other, 0, 5), 'other')
    },
  },
  {
    row: 'detach again',
    name: 'detach of what is detached, or where nothing is mapped, does nothing',
    on: on.everyFace,
    async run(face) {
      const { consumer, attachment } = await attachedPair(face)
      const address = await addressOf(consumer, attachment)
      await consumer.call('detach', attachment)
      await consumer.call('detach', attachment)
      await consumer.call('detachAddress', address)
      await consumer.call('detachAddress', await consumer.call<bigint>('hole', face.pageSize))
    },
  },
  {
    row: 'detach ordinary',
    name: 'detach of ordinary memory is EINVAL, also of memory that is offered',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, region } = await attachedPair(face)
      for (const [process, memory] of [
        [owner, region],
        [owner, await owner.call<number>('live', face.pageSize)],
        [consumer, await consumer.call<number>('live', face.pageSize)],
      ] as const) {
        await write(process, memory, 0, 'mine')
        const address = await process.call<bigint>('addressOfMemory', memory)
        await assert.rejects(process.call('detachAddress', address), code('EINVAL'))
        assert.equal(await read(process, memory, 0, 4), 'mine')
      }
    },
  },
  {
    row: 'munmap',
    name: 'munmap of an attachment is allowed and counts as a detach',
    on: on.cConsumer,
    async run(face) {
      const { owner, consumer, made, permit, attachment, length } = await attachedPair(face)
      const address = await addressOf(consumer, attachment)
      await consumer.call('munmap', attachment, 0, length)
      await assertUnmapped(consumer, attachment, address)
      // Whoever maps memory there now keeps it, whatever becomes of permit and segment.
      await consumer.call('mapAnew', attachment)
      await write(consumer, attachment, 0, 'mine')
      const other = await attach(consumer, permit, { length })
      await owner.call('remove', made.handle)
      await assertRevoked(consumer, other)
      await consumer.call('release', permit.handle)
      assert.equal(await read(consumer, attachment, 0, 4), 'mine')
      await assert.rejects(consumer.call('detachAddress', address), code('EINVAL'))
    },
  },
  {
    row: 'munmap',
    name: 'munmap of a part of an attachment leaves the rest, which remove revokes',
    on: on.cConsumer,
    async run(face) {
      const { owner, consumer, region, made, attachment } = await attachedPair(face)
      const page = face.pageSize
      await owner.call('fill', region, 0, 4 * page, 8)
      await consumer.call('munmap', attachment, page, page)
      await assert.rejects(consumer.call('read', attachment, page, 1), code('SIGSEGV'))
      assert.equal(await consumer.call('compare', attachment, 0, page, 8), -1)
      await owner.call('remove', made.handle)
      for (const at of [0, 2 * page, 4 * page - 1]) await assertRevoked(consumer, attachment, at)
      await assert.rejects(consumer.call('read', attachment, page, 1), code('SIGSEGV'))
    },
  },
  {
    row: 'fork view',
    name: 'a forked child does not see the attachments of its parent, and the parent keeps them',
    on: on.cConsumer,
    async run(face) {
      const { owner, consumer, region, attachment } = await attachedPair(face)
      await write(owner, region, 0, 'parent')
      assert.equal(await read(consumer, attachment, 0, 6), 'parent')
      const child = await face.fork(consumer)
      await assert.rejects(child.call('read', attachment, 0, 6), code('SIGSEGV'))
      await assert.rejects(write(child, attachment, 0, 'child'), code('SIGSEGV'))
      assert.equal(await child.call('isMapped', await addressOf(child, attachment)), false)
      assert.equal(await read(consumer, attachment, 0, 6), 'parent')
    },
  },
  {
    row: 'read and write',
    name: 'read(2) into and write(2) from an attachment work',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, region, attachment } = await attachedPair(face)
      const to = 2 * face.pageSize
      await write(owner, region, 0, 'through a file')
      const through = await consumer.call<Uint8Array>('throughFile', attachment, 0, to, 14)
      assert.equal(Buffer.from(through).toString(), 'through a file')
      assert.equal(await read(owner, region, to, 14), 'through a file')
    },
  },
  {
    row: 'futex',
    name: 'a futex wakes a process that waits on an attachment, and one that waits on the source',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, region, attachment } = await attachedPair(face)
      for (const [waiter, at, waker, there] of [
        [consumer, attachment, owner, region],
        [owner, region, consumer, attachment],
      ] as const) {
        const waited = waiter.call('futexWait', at, 0, 0)
        while ((await waker.call<number>('futexWake', there, 0)) === 0);
        assert.equal(await waited, 'ok')
      }
      await write(owner, region, 0, 'full')
      assert.equal(await consumer.call('futexWait', attachment, 0, 0), 'not-equal')
    },
  },
  {
    row: 'futex',
    name: 'a pthread mutex of processes guards a counter in an attachment',
    on: on.c,
    async run(face) {
      const { owner, consumer, region, permit, length } = await pair(face)
      const rounds = 20_000
      await owner.call('mutexInit', region)
      const attachment = await attach(consumer, permit, { length })
      const counts = await Promise.all([
        owner.call<number>('mutexCount', region, rounds),
        owner.call<number>('mutexCount', region, rounds),
        consumer.call<number>('mutexCount', attachment, rounds),
        consumer.call<number>('mutexCount', attachment, rounds),
      ])
      assert.equal(Math.max(...counts), 4 * rounds)
    },
  },
]
