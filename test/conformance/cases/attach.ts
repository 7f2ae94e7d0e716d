import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { attach, attachedPair, type Case, code, type Got, type Made, on, pair, read, write } from '../face.js'
import { wholePair } from './whole.js'

/** One figure, in KiB, of a mapping in /proc/PID/smaps. */
function ofMapping(pid: number, address: bigint, key: string): number {
  const lines = readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')
  const start = lines.findIndex((line) => line.startsWith(`${address.toString(16)}-`))
  assert.notEqual(start, -1, 'no mapping begins at the attachment')
  const line = lines.slice(start).find((found) => found.startsWith(`${key}:`))
  return Number(/\d+/.exec(line ?? '')?.[0])
}

const pinnedKib = (pid: number) => Number(/^VmPin:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1])

/** The second table of the semantics, as far as attach goes. */
export const attachCases: Case[] = [
  {
    row: 'attach read-only',
    name: 'an attachment of a read-only permit reads; a store is SIGSEGV for the consumer alone',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, region, attachment } = await attachedPair(face, { access: 'read' })
      await write(owner, region, 0, 'look')
      assert.equal(await read(consumer, attachment, 0, 4), 'look')
      await assert.rejects(write(consumer, attachment, 0, 'hand'), /SIGSEGV/)
      assert.equal(await read(owner, region, 0, 4), 'look')
    },
  },
  {
    row: 'attach read-only',
    name: 'mprotect to writable of an attachment of a read-only permit fails',
    on: on.cConsumer,
    async run(face) {
      const { owner, consumer, made } = await pair(face)
      const live = await owner.call<number>('live', face.pageSize)
      const moved = await owner.call<Made>('make', live)
      for (const { segid } of [made, moved]) {
        const permit = await consumer.call<Got>('get', segid, 'read')
        const attachment = await attach(consumer, permit, { length: face.pageSize })
        const call = consumer.call('mprotect', attachment, 0, face.pageSize, 'readwrite')
        await assert.rejects(call, code('EACCES'))
      }
    },
  },
  {
    row: 'attach refuses',
    name: 'what is not aligned, before the start, past the end or of size 0 is EINVAL, and so is apid 0',
    on: on.everyFace,
    async run(face) {
      const { consumer, permit } = await pair(face)
      const page = face.pageSize
      const bad = [
        { offset: 1, length: page },
        { offset: -page, length: page },
        { offset: 4 * page, length: page },
        { offset: 100 * page, length: page },
        { offset: page, length: 4 * page },
        { length: 5 * page },
        { length: 0 },
        { length: -page },
        { length: page, address: 12_345n },
      ]
      for (const options of bad) {
        await assert.rejects(attach(consumer, permit, options), code('EINVAL'), `${Object.entries(options)}`)
      }
      await assert.rejects(consumer.call('attachApid', 0n, { length: page }), code('EINVAL'))
      await assert.rejects(consumer.call('attachApid', -1n, { length: page }), code('EINVAL'))
    },
  },
  {
    row: 'attach refuses',
    name: 'an offset at the end with no length, a length that is no number or an address below 0 is EINVAL',
    on: on.typeScriptConsumer,
    async run(face) {
      const { consumer, permit } = await pair(face)
      for (const options of [{ offset: 4 * face.pageSize }, { length: Number.NaN }, { address: -4096n }]) {
        await assert.rejects(consumer.call('attach', permit.handle, options), code('EINVAL'))
      }
    },
  },
  {
    row: 'attach rounds',
    name: 'a size that is not a multiple of the page size is rounded up',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, region, permit } = await pair(face)
      const attachment = await attach(consumer, permit, { length: face.pageSize + 1 })
      assert.equal(await consumer.call('byteLength', attachment), 2 * face.pageSize)
      await write(consumer, attachment, 2 * face.pageSize - 1, '!')
      assert.equal(await read(owner, region, 2 * face.pageSize - 1, 1), '!')
    },
  },
  {
    row: 'attach nothing',
    name: 'an apid that is unknown or released, or whose segment is removed, is ENOENT',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, made, permit, length } = await pair(face)
      await assert.rejects(consumer.call('attachApid', permit.apid + 1_000n, { length }), code('ENOENT'))
      const released = await consumer.call<Got>('get', made.segid)
      await consumer.call('release', released.handle)
      await assert.rejects(attach(consumer, released, { length }), code('ENOENT'))
      await owner.call('removeSegid', made.segid)
      await assert.rejects(attach(consumer, permit, { length }), code('ENOENT'))
    },
  },
  {
    row: 'attach at',
    name: 'at an address that is free it is mapped exactly there',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, region, permit, length } = await pair(face)
      const address = await consumer.call<bigint>('hole', length)
      const attachment = await attach(consumer, permit, { length, address })
      assert.equal(await consumer.call('addressOf', attachment), address)
      await write(owner, region, length - 5, 'there')
      assert.equal(await read(consumer, attachment, length - 5, 5), 'there')
    },
  },
  {
    row: 'attach over',
    name: 'at an address over another attachment it is EINVAL, and the other one stays',
    on: on.everyFace,
    async run(face) {
      const { consumer, permit, attachment, length } = await attachedPair(face)
      const address = await consumer.call<bigint>('addressOf', attachment)
      await write(consumer, attachment, 0, 'stays')
      for (const at of [address, address + BigInt(face.pageSize)]) {
        await assert.rejects(attach(consumer, permit, { length, address: at }), code('EINVAL'))
      }
      assert.equal(await read(consumer, attachment, 0, 5), 'stays')
    },
  },
  {
    row: 'attach over',
    name: 'an owner that attaches its segment onto its own source is told EINVAL',
    on: on.eachLanguage,
    async run(face) {
      const { owner, made, region, length } = await pair(face)
      const own = await owner.call<Got>('get', made.segid, 'readwrite')
      const source = await owner.call<bigint>('addressOfMemory', region)
      await assert.rejects(attach(owner, own, { length, address: source }), code('EINVAL'))
    },
  },
  {
    row: 'attach over',
    name: 'an owner that attaches its segment onto a part of its own source is told EINVAL, which stays',
    on: on.c,
    async run(face) {
      const owner = await face.startOwner()
      const page = face.pageSize
      const memory = await owner.call<number>('memory', 'anonymous', 8 * page)
      await owner.call('fill', memory, 0, 8 * page, 5)
      const { segid } = await owner.call<Made>('makeEverything')
      const own = await owner.call<Got>('get', segid, 'readwrite')
      const source = await owner.call<bigint>('addressOfMemory', memory)
      const range = { offset: Number(source) + 4 * page, length: 2 * page }
      for (const at of [3, 4, 5]) {
        await assert.rejects(attach(owner, own, { ...range, address: source + BigInt(at * page) }), code('EINVAL'))
      }
      assert.equal(await owner.call('compare', memory, 0, 8 * page, 5), -1)
      const alias = await attach(owner, own, { ...range, address: source })
      await write(owner, memory, 4 * page, 'one memory')
      assert.equal(await read(owner, alias, 0, 10), 'one memory')
    },
  },
  {
    row: 'attach over',
    name: 'over memory that is reserved, or in use, it is mapped there, and what is beside it stays',
    on: on.cConsumer,
    async run(face) {
      const { owner, consumer, region, permit, length } = await pair(face)
      const page = face.pageSize
      for (const kind of ['inaccessible', 'anonymous']) {
        const memory = await consumer.call<number>('memory', kind, length + 2 * page)
        const start = await consumer.call<bigint>('addressOfMemory', memory)
        const address = start + BigInt(page)
        const attachment = await attach(consumer, permit, { length, address })
        assert.equal(await consumer.call('addressOf', attachment), address)
        await write(owner, region, length - 4, kind.slice(0, 4))
        assert.equal(await read(consumer, attachment, length - 4, 4), kind.slice(0, 4))
        await assert.rejects(attach(consumer, permit, { length, address: start }), code('EINVAL'))
        if (kind === 'anonymous') await write(consumer, memory, page + length, 'beside')
        await consumer.call('detach', attachment)
        assert.equal(await consumer.call('isMapped', address), false)
        assert.equal(await consumer.call('isMapped', start), true)
        if (kind === 'anonymous') assert.equal(await read(consumer, memory, page + length, 6), 'beside')
      }
    },
  },
  {
    row: 'attach over',
    name: 'a range with a hole in it is mapped over reserved memory, piece by piece',
    on: on.c,
    async run(face) {
      const { owner, consumer, permit } = await wholePair(face)
      const page = face.pageSize
      const memory = await owner.call<number>('memory', 'anonymous', 5 * page)
      await owner.call('fill', memory, 0, 5 * page, 9)
      await owner.call('munmap', memory, 2 * page, page)
      const offset = await owner.call<bigint>('addressOfMemory', memory)
      const reserved = await consumer.call<number>('memory', 'inaccessible', 5 * page)
      const address = await consumer.call<bigint>('addressOfMemory', reserved)
      const attachment = await attach(consumer, permit, { offset, length: 5 * page, address })
      assert.equal(await consumer.call('compare', attachment, 0, 2 * page, 9), -1)
      await assert.rejects(read(consumer, attachment, 2 * page, 1), code('SIGBUS'))
      await write(owner, memory, 4 * page, 'last')
      assert.equal(await read(consumer, attachment, 4 * page, 4), 'last')
    },
  },
  {
    row: 'attach over',
    name: 'in JavaScript it is EINVAL over any memory, which may be in use',
    on: on.typeScriptConsumer,
    async run(face) {
      const { consumer, permit, length } = await pair(face)
      const memory = await consumer.call<number>('live', length)
      await write(consumer, memory, 0, 'stays')
      const address = await consumer.call<bigint>('addressOfMemory', memory)
      await assert.rejects(attach(consumer, permit, { length, address }), code('EINVAL'))
      assert.equal(await read(consumer, memory, 0, 5), 'stays')
    },
  },
  {
    row: 'attach twice',
    name: 'two attachments of one permit have two addresses and one memory',
    on: on.everyFace,
    async run(face) {
      const { consumer, permit, length } = await pair(face)
      const first = await attach(consumer, permit, { length })
      const second = await attach(consumer, permit, { length })
      assert.notEqual(await consumer.call('addressOf', first), await consumer.call('addressOf', second))
      await write(consumer, first, 77, 'same')
      assert.equal(await read(consumer, second, 77, 4), 'same')
    },
  },
  {
    row: 'attach a hole',
    name: 'where nothing is mapped in a whole address space C attaches, SIGBUS on access; TypeScript is told EFAULT',
    on: on.everyFace,
    async run(face) {
      const owner = await face.startOwner()
      const consumer = await face.startConsumer()
      const { segid } = await owner.call<Made>('makeEverything')
      const permit = await consumer.call<Got>('get', segid, 'readwrite')
      const length = 4 * face.pageSize
      const offset = Number(await owner.call<bigint>('hole', length))
      const attaching = attach(consumer, permit, { offset, length })
      if (consumer.language === 'TypeScript') return assert.rejects(attaching, code('EFAULT'))
      const attachment = await attaching
      for (const at of [0, length - 1]) {
        await assert.rejects(consumer.call('read', attachment, at, 1), code('SIGBUS'))
        await assert.rejects(write(consumer, attachment, at, 'x'), code('SIGBUS'))
      }
      await consumer.call('detach', attachment)
    },
  },
  {
    row: 'first touch',
    name: 'the first touch maps the pages around it, too, and pins none',
    on: on.everyFace,
    async run(face) {
      const pages = 64
      const owner = await face.startOwner()
      const consumer = await face.startConsumer()
      const live = await owner.call<number>('live', pages * face.pageSize)
      await owner.call('fill', live, 0, pages * face.pageSize, 3)
      const { segid } = await owner.call<Made>('make', live)
      const permit = await consumer.call<Got>('get', segid, 'readwrite')
      const attachment = await attach(consumer, permit, { length: pages * face.pageSize })
      const address = await consumer.call<bigint>('addressOf', attachment)
      await read(consumer, attachment, 32 * face.pageSize, 1)
      assert.ok(ofMapping(consumer.pid, address, 'Rss') >= 8)
      assert.equal(ofMapping(consumer.pid, address, 'Locked'), 0)
      assert.equal(pinnedKib(consumer.pid), 0)
    },
  },
]
