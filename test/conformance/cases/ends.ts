import assert from 'node:assert/strict'
import { until } from '../../support/until.js'
import {
  assertRevoked,
  assertUnmapped,
  attach,
  attachedPair,
  type Case,
  code,
  type Face,
  type Got,
  type Made,
  on,
  type Process,
  pair,
  read,
  write,
} from '../face.js'

/** In which ways a process of a language ends. */
const waysToEnd = {
  C: ['SIGKILL', 'exit', '_exit', 'abort'],
  TypeScript: ['SIGKILL', 'exit', 'throw'],
} as const

async function endBy(process: Process, way: string): Promise<void> {
  if (way === 'SIGKILL') return process.end('SIGKILL')
  process.call(way).catch(() => {})
  await process.exited
}

/** Does something again and again until it fails, which it must with that code. */
async function untilCode(expected: string, work: () => Promise<void>): Promise<void> {
  await until(async () => {
    try {
      await work()
      return false
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, expected)
      return true
    }
  })
}

/** An owner of memory that was moved and of memory that was born shared, both attached. */
async function attachedBoth(face: Face, owner: Process, consumers: readonly Process[]) {
  const length = 2 * face.pageSize
  const memories = [await owner.call<number>('allocate', length), await owner.call<number>('live', length)]
  const attachments: { consumer: Process; made: Made; permit: Got; attachment: number }[] = []
  for (const memory of memories) {
    const made = await owner.call<Made>('make', memory)
    for (const consumer of consumers) {
      const permit = await consumer.call<Got>('get', made.segid, 'readwrite')
      attachments.push({ consumer, made, permit, attachment: await attach(consumer, permit, { length }) })
    }
    await write(owner, memory, 0, 'last words')
  }
  return attachments
}

/** The third table of the semantics: release, remove and the end. */
export const endCases: Case[] = [
  {
    row: 'release',
    name: 'release ends the attachments of its permit, and of no other',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, region, made, permit, length } = await pair(face)
      const attachments = [
        await attach(consumer, permit, { length }),
        await attach(consumer, permit, { offset: face.pageSize, length: face.pageSize }),
      ]
      const other = await attach(consumer, await consumer.call<Got>('get', made.segid, 'readwrite'), { length })
      const addresses: bigint[] = []
      for (const attachment of attachments) addresses.push(await consumer.call<bigint>('addressOf', attachment))
      await consumer.call('release', permit.handle)
      for (const [index, attachment] of attachments.entries()) {
        await assertUnmapped(consumer, attachment, addresses[index] as bigint)
      }
      await write(owner, region, 0, 'other')
      assert.equal(await read(consumer, other, 0, 5), 'other')
    },
  },
  {
    row: 'release nothing',
    name: 'release twice or of what is unknown is ENOENT, of 0 or a negative number EINVAL',
    on: on.everyFace,
    async run(face) {
      const { consumer, permit } = await pair(face)
      await consumer.call('release', permit.handle)
      await assert.rejects(consumer.call('release', permit.handle), code('ENOENT'))
      await assert.rejects(consumer.call('releaseApid', permit.apid + 1_000n), code('ENOENT'))
      await assert.rejects(consumer.call('releaseApid', 0n), code('EINVAL'))
      await assert.rejects(consumer.call('releaseApid', -3n), code('EINVAL'))
    },
  },
  {
    row: 'release foreign',
    name: "release and attach of another process's permit are EACCES, and its holder keeps it",
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, permit, length } = await pair(face)
      await assert.rejects(owner.call('releaseApid', permit.apid), code('EACCES'))
      await assert.rejects(owner.call('attachApid', permit.apid, { length }), code('EACCES'))
      await attach(consumer, permit, { length })
    },
  },
  {
    row: 'remove foreign',
    name: "remove of another process's segment is EACCES, and it stays",
    on: on.everyFace,
    async run(face) {
      const { consumer, made, permit, length } = await pair(face)
      await assert.rejects(consumer.call('removeSegid', made.segid), code('EACCES'))
      await attach(consumer, permit, { length })
    },
  },
  {
    row: 'remove nothing',
    name: 'remove twice or of what is unknown is ENOENT, of 0 EINVAL',
    on: on.everyFace,
    async run(face) {
      const { owner, made } = await pair(face)
      await owner.call('remove', made.handle)
      await assert.rejects(owner.call('remove', made.handle), code('ENOENT'))
      await assert.rejects(owner.call('removeSegid', made.segid + 1_000n), code('ENOENT'))
      await assert.rejects(owner.call('removeSegid', 0n), code('EINVAL'))
    },
  },
  {
    row: 'remove attached',
    name: 'when remove answers, touched and untouched pages are revoked; detach and release work, attach is ENOENT',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, region, made, permit, length, attachment: touched } = await attachedPair(face)
      const untouched = await attach(consumer, permit, { length })
      await write(owner, region, 0, 'secret')
      assert.equal(await read(consumer, touched, 0, 6), 'secret')
      const address = await consumer.call<bigint>('addressOf', touched)
      await owner.call('remove', made.handle)
      for (const attachment of [touched, untouched]) {
        for (const at of [0, length - 1]) await assertRevoked(consumer, attachment, at)
      }
      const seen = await owner.call<Uint8Array>('peek', consumer.pid, address, 6)
      assert.notEqual(Buffer.from(seen).toString(), 'secret')
      await consumer.call('detach', touched)
      await assert.rejects(attach(consumer, permit, { length }), code('ENOENT'))
      await consumer.call('release', permit.handle)
      assert.equal(await read(owner, region, 0, 6), 'secret')
    },
  },
  {
    row: 'remove attached',
    name: 'release of a permit whose segment is removed ends its revoked attachments',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, made, permit, attachment } = await attachedPair(face)
      const address = await consumer.call<bigint>('addressOf', attachment)
      await owner.call('remove', made.handle)
      await consumer.call('release', permit.handle)
      await assertUnmapped(consumer, attachment, address)
      await assert.rejects(consumer.call('release', permit.handle), code('ENOENT'))
    },
  },
  {
    row: 'owner ends',
    name: 'an owner that ends, in whatever way, is gone: revoked, get and attach ENOENT, detach and release work',
    on: on.everyFace,
    async run(face) {
      const consumer = await face.startConsumer()
      for (const way of waysToEnd[face.owner]) {
        const owner = await face.startOwner()
        const attached = await attachedBoth(face, owner, [consumer])
        await endBy(owner, way)
        for (const { made, permit, attachment } of attached) {
          await consumer.call('untilRevoked', attachment)
          await assertRevoked(consumer, attachment)
          await assertRevoked(consumer, attachment, 2 * face.pageSize - 1)
          await assert.rejects(consumer.call('get', made.segid), code('ENOENT'), way)
          await assert.rejects(attach(consumer, permit, { length: face.pageSize }), code('ENOENT'), way)
          await consumer.call('detach', attachment)
          await consumer.call('release', permit.handle)
        }
      }
    },
  },
  {
    row: 'owner ends',
    name: 'attachments that are to keep the last content do, and others of the same segment are revoked',
    on: on.everyFace,
    async run(face) {
      const strict = await face.startConsumer()
      const keeper = await face.startConsumer({ keep: true })
      for (const way of waysToEnd[face.owner]) {
        const owner = await face.startOwner()
        const attached = await attachedBoth(face, owner, [strict, keeper])
        await endBy(owner, way)
        for (const { consumer, made, permit, attachment } of attached) {
          if (consumer === strict) {
            await strict.call('untilRevoked', attachment)
            continue
          }
          await keeper.call('untilGone', made.segid)
          assert.equal(await read(keeper, attachment, 0, 10), 'last words')
          await write(keeper, attachment, face.pageSize, 'and mine')
          assert.equal(await read(keeper, attachment, face.pageSize, 8), 'and mine')
          // Its agent hears of the end, within 100 ms, after the service has it; and it has what it needs.
          await untilCode('ENOENT', async () => {
            await keeper.call('detach', await attach(keeper, permit, { length: face.pageSize }))
          })
          await keeper.call('release', permit.handle)
        }
      }
    },
  },
  {
    row: 'owner ends',
    name: 'remove revokes attachments, too, that are to keep the last content of an owner that ends',
    on: on.everyFace,
    async run(face) {
      const owner = await face.startOwner()
      const keeper = await face.startConsumer({ keep: true })
      const [first, second] = await attachedBoth(face, owner, [keeper])
      for (const attached of [first, second]) {
        await owner.call('removeSegid', attached?.made.segid)
        await assertRevoked(keeper, attached?.attachment as number)
      }
    },
  },
  {
    row: 'owner unmaps',
    name: 'attachers keep the last content of memory that its owner unmaps, and share it with one another',
    on: on.everyFace,
    async run(face) {
      const owner = await face.startOwner()
      const consumer = await face.startConsumer()
      const length = face.pageSize
      const region = await owner.call<number>('allocate', length)
      await write(owner, region, 0, 'kept')
      const address = await owner.call<bigint>('addressOfMemory', region)
      const { segid } = await owner.call<Made>('makeRange', address, length)
      const permit = await consumer.call<Got>('get', segid, 'readwrite')
      const first = await attach(consumer, permit, { length })
      const second = await attach(consumer, permit, { length })
      await owner.call('dropMemory', region, address)
      assert.equal(await read(consumer, first, 0, 4), 'kept')
      await write(consumer, first, 4, ' on')
      assert.equal(await read(consumer, second, 0, 7), 'kept on')
      await owner.call('removeSegid', segid)
      for (const attachment of [first, second]) await assertRevoked(consumer, attachment)
    },
  },
  {
    row: 'close duplicates',
    name: 'close(dup(fd)) of every descriptor of the owner, and of the attacher, changes nothing',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, region, made, permit, attachment, length } = await attachedPair(face)
      for (const process of [owner, consumer]) assert.ok((await process.call<number>('closeDuplicates', 20)) > 20)
      await write(owner, region, 0, 'open')
      assert.equal(await read(consumer, attachment, 0, 4), 'open')
      const again = await consumer.call<Got>('get', made.segid)
      assert.equal(await read(consumer, await attach(consumer, again, { length }), 0, 4), 'open')
      await attach(consumer, permit, { length })
      await owner.call('remove', made.handle)
      await assertRevoked(consumer, attachment)
    },
  },
  {
    row: 'revoked in JavaScript',
    name: 'a revoked attachment has no bytes, says revoked, and emitted it once, with why',
    on: on.typeScriptConsumer,
    async run(face) {
      for (const why of ['removed', 'owner-exit']) {
        const { owner, consumer, made, attachment } = await attachedPair(face)
        if (why === 'removed') await owner.call('remove', made.handle)
        else await owner.end('SIGKILL')
        await until(() => consumer.events.includes(`revoked:${attachment}:${why}`))
        assert.equal(await consumer.call('byteLength', attachment), 0)
        assert.equal(await consumer.call('revoked', attachment), true)
        await consumer.call('detach', attachment)
        assert.equal(consumer.events.filter((event) => event.startsWith('revoked')).length, 1)
      }
    },
  },
  {
    row: 'revoked in JavaScript',
    name: 'a loop over an attachment that never yields goes on over zeros when it is revoked, and nothing crashes',
    on: on.typeScriptConsumer,
    async run(face) {
      const { owner, consumer, region, made, attachment } = await attachedPair(face)
      await owner.call('write', region, 0, Uint8Array.of(7))
      const spinning = consumer.call<number>('spin', attachment, 0, 7)
      await until(() => consumer.events.includes('spinning'))
      await owner.call('remove', made.handle)
      // Only the zero page ends the loop: nobody writes another value.
      await spinning
      await until(() => consumer.events.includes(`revoked:${attachment}:removed`))
      assert.equal(await consumer.call('byteLength', attachment), 0)
    },
  },
]
