import assert from 'node:assert/strict'
import { readdirSync, readlinkSync } from 'node:fs'
import { until } from '../../support/until.js'
import {
  assertRevoked,
  attach,
  attachedPair,
  type Case,
  code,
  type Got,
  type Made,
  on,
  type Process,
  pair,
  read,
  write,
} from '../face.js'

/** The thread that calls exec, which is the only one that is left. */
const threads = ['exec', 'execInThread'] as const

/** Has the process run another program: another actor, or one without xpmem. */
async function exec(process: Process, thread: (typeof threads)[number], program: 'actor' | 'cat'): Promise<void> {
  const ready = () => process.events.filter((event) => event === 'ready').length
  const before = ready()
  // The program that would answer is gone.
  process.call(thread, program === 'actor' ? '/proc/self/exe' : '/bin/cat').catch(() => {})
  if (program === 'actor') await until(() => ready() > before)
}

const socketsOf = (pid: number) =>
  readdirSync(`/proc/${pid}/fd`).filter((name) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${name}`).startsWith('socket:')
    } catch {
      return false
    }
  }).length

/** A program that another replaces in its process has nothing more, and gives nothing more. */
export const execCases: Case[] = [
  {
    row: 'owner execs',
    name: 'an exec by any thread of the owner, of a program with or without xpmem, is the end of its segments',
    on: on.cOwner,
    async run(face) {
      for (const thread of threads) {
        for (const program of ['actor', 'cat'] as const) {
          const { owner, consumer, region, made, permit, attachment, length } = await attachedPair(face)
          const untouched = await owner.call<Made>('make', await owner.call<number>('allocate', length))
          await write(owner, region, 0, 'here')
          assert.equal(await read(consumer, attachment, 0, 4), 'here')
          await exec(owner, thread, program)
          await consumer.call('untilRevoked', attachment)
          await assertRevoked(consumer, attachment, length - 1)
          for (const { segid } of [made, untouched]) {
            await assert.rejects(consumer.call('get', segid, 'readwrite'), code('ENOENT'), `${thread} ${program}`)
          }
          await assert.rejects(attach(consumer, permit, { length }), code('ENOENT'), `${thread} ${program}`)
          await consumer.call('detach', attachment)
          await consumer.call('release', permit.handle)
          await Promise.all([owner.end(), consumer.end()])
        }
      }
    },
  },
  {
    row: 'owner execs',
    name: 'segments that were never attached are ENOENT after an exec of the owner',
    on: on.cOwner,
    async run(face) {
      const { consumer, owner, made, permit, length } = await pair(face)
      await exec(owner, 'exec', 'cat')
      await consumer.call('untilGone', made.segid)
      await assert.rejects(attach(consumer, permit, { length }), code('ENOENT'))
    },
  },
  {
    row: 'owner execs',
    name: 'an old permit gives nothing of the memory of the next program, which offers the same addresses to others',
    on: on.cOwner,
    async run(face) {
      const owner = await face.startOwner()
      const consumer = await face.startConsumer()
      const { segid } = await owner.call<Made>('makeEverything', { mode: 0o666 })
      const permit = await consumer.call<Got>('get', segid, 'readwrite')
      await exec(owner, 'exec', 'actor')
      const memory = await owner.call<number>('allocate', face.pageSize)
      const address = await owner.call<bigint>('addressOfMemory', memory)
      await write(owner, memory, 0, 'secret')
      const { segid: next } = await owner.call<Made>('makeEverything', { mode: 0o600 })
      const range = { offset: Number(address), length: face.pageSize }
      await assert.rejects(attach(consumer, permit, range), code('ENOENT'))
      const allowed = await consumer.call<Got>('get', next, 'readwrite')
      assert.equal(await read(consumer, await attach(consumer, allowed, range), 0, 6), 'secret')
    },
  },
  {
    row: 'owner execs',
    name: 'attachments that are to keep the last content of an owner that ends keep it when the owner execs',
    on: on.cOwner,
    async run(face) {
      const owner = await face.startOwner()
      const keeper = await face.startConsumer({ keep: true })
      const region = await owner.call<number>('allocate', face.pageSize)
      const made = await owner.call<Made>('make', region)
      const permit = await keeper.call<Got>('get', made.segid, 'readwrite')
      const attachment = await attach(keeper, permit, { length: face.pageSize })
      await write(owner, region, 0, 'last words')
      await exec(owner, 'exec', 'actor')
      await keeper.call('untilGone', made.segid)
      assert.equal(await read(keeper, attachment, 0, 10), 'last words')
    },
  },
  {
    row: 'owner execs',
    name: 'an owner that closes descriptors it did not open, and goes on, keeps what is attached',
    on: on.cOwner,
    notUnder: { thread: 'it takes a closed descriptor for memory of the thread that closed it' },
    async run(face) {
      const { owner, consumer, region, made, attachment, length } = await attachedPair(face)
      const other = await owner.call<Made>('make', await owner.call<number>('allocate', length))
      const permit = await consumer.call<Got>('get', other.segid)
      const before = socketsOf(face.service.pid)
      assert.ok((await owner.call<number>('closeOthers')) > 2)
      // Its agent ends when it is asked for something.
      await assert.rejects(attach(consumer, permit, { length }))
      await until(() => socketsOf(face.service.pid) === before - 2)
      await write(owner, region, 0, 'still')
      assert.equal(await read(consumer, attachment, 0, 5), 'still')
      await consumer.call('get', made.segid)
    },
  },
  {
    row: 'holder execs',
    name: 'the permits of a process are nothing to the program that an exec puts in its place',
    on: on.cConsumer,
    async run(face) {
      for (const thread of threads) {
        const { consumer, owner, made, permit, length } = await attachedPair(face)
        await exec(consumer, thread, 'actor')
        await assert.rejects(consumer.call('attachApid', permit.apid, { length }), code('ENOENT'), thread)
        await assert.rejects(consumer.call('releaseApid', permit.apid), code('ENOENT'), thread)
        const again = await consumer.call<Got>('get', made.segid, 'readwrite')
        await attach(consumer, again, { length })
        await owner.call('remove', made.handle)
      }
    },
  },
]
