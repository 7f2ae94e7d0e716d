import assert from 'node:assert/strict'
import { attach, type Case, code, type Got, type Made, on, pair, read, write } from '../face.js'

const modePermit = 1

/** The first table of the semantics: make and get. */
export const makeGetCases: Case[] = [
  {
    row: 'make refuses',
    name: 'make of size 0, of what is not whole pages, or with other bits than permissions is EINVAL',
    on: on.eachLanguage,
    async run(face) {
      const owner = await face.startOwner()
      const page = face.pageSize
      const region = await owner.call<number>('allocate', 2 * page)
      const base = await owner.call<bigint>('addressOfMemory', region)
      for (const [address, length] of [
        [base, 0],
        [base + 8n, page],
        [base, page - 1],
        [base + 8n, page - 8],
      ] as const) {
        await assert.rejects(owner.call('makeRange', address, length), code('EINVAL'))
      }
      for (const mode of [0o1000, -1]) await assert.rejects(owner.call('make', region, { mode }), code('EINVAL'))
      await owner.call('makeRange', base, 2 * page, { mode: 0o777 })
    },
  },
  {
    row: 'make refuses',
    name: 'make with a permit type that is not XPMEM_PERMIT_MODE is EINVAL',
    on: on.c,
    async run(face) {
      const owner = await face.startOwner()
      const base = await owner.call<bigint>('addressOfMemory', await owner.call<number>('allocate', face.pageSize))
      for (const type of [0, 2, 3, -1]) {
        await assert.rejects(owner.call('makeRange', base, face.pageSize, { type }), code('EINVAL'))
      }
      await owner.call('makeRange', base, face.pageSize, { type: modePermit })
    },
  },
  {
    row: 'make a hole',
    name: 'a range with nothing mapped is offered; C attaches it and an access is SIGBUS, TypeScript is told EFAULT',
    on: on.everyFace,
    async run(face) {
      const owner = await face.startOwner()
      const consumer = await face.startConsumer()
      const address = await owner.call<bigint>('hole', face.pageSize)
      const { segid } = await owner.call<Made>('makeRange', address, face.pageSize)
      const permit = await consumer.call<Got>('get', segid, 'read')
      const attaching = attach(consumer, permit, { length: face.pageSize })
      if (consumer.language === 'TypeScript') return assert.rejects(attaching, code('EFAULT'))
      await assert.rejects(consumer.call('read', await attaching, 0, 1), code('SIGBUS'))
    },
  },
  {
    row: 'make too far',
    name: 'a range that ends after the address space is EINVAL',
    on: on.eachLanguage,
    async run(face) {
      const owner = await face.startOwner()
      await assert.rejects(owner.call('makeRange', 1n << 47n, face.pageSize), code('EINVAL'))
      await assert.rejects(owner.call('makeRange', (1n << 63n) - 4096n, face.pageSize), code('EINVAL'))
    },
  },
  {
    row: 'make everything',
    name: 'of the whole address space, memory anywhere can be attached and written',
    on: on.everyFace,
    async run(face) {
      const owner = await face.startOwner()
      const consumer = await face.startConsumer()
      const { segid } = await owner.call<Made>('makeEverything')
      const memory = await owner.call<number>('live', face.pageSize)
      await write(owner, memory, 100, 'anywhere')
      const offset = Number(await owner.call<bigint>('addressOfMemory', memory))
      const permit = await consumer.call<Got>('get', segid, 'readwrite')
      const attachment = await attach(consumer, permit, { offset, length: face.pageSize })
      assert.equal(await read(consumer, attachment, 100, 8), 'anywhere')
      await write(consumer, attachment, 100, 'ANYWHERE')
      assert.equal(await read(owner, memory, 100, 8), 'ANYWHERE')
    },
  },
  {
    row: 'make twice',
    name: 'two segments of one range have two segids and one memory',
    on: on.everyFace,
    async run(face) {
      const owner = await face.startOwner()
      const consumer = await face.startConsumer()
      for (const kind of ['allocate', 'live']) {
        const memory = await owner.call<number>(kind, face.pageSize)
        const first = await owner.call<Made>('make', memory)
        const second = await owner.call<Made>('make', memory)
        assert.notEqual(first.segid, second.segid)
        const attachments: number[] = []
        for (const { segid } of [first, second]) {
          const permit = await consumer.call<Got>('get', segid, 'readwrite')
          attachments.push(await attach(consumer, permit, { length: face.pageSize }))
        }
        const [one = 0, other = 0] = attachments
        await write(consumer, one, 9, kind)
        assert.equal(await read(consumer, other, 9, kind.length), kind)
        assert.equal(await read(owner, memory, 9, kind.length), kind)
      }
    },
  },
  {
    row: 'get refuses',
    name: 'get of segid 0 or of a negative one is EINVAL',
    on: on.eachLanguage,
    async run(face) {
      const consumer = await face.startConsumer()
      for (const segid of [0n, -5n, -1n]) await assert.rejects(consumer.call('get', segid), code('EINVAL'))
    },
  },
  {
    row: 'get refuses',
    name: 'get of a number above 63 bits, of an empty name, or for an unknown access is EINVAL',
    on: on.typeScript,
    async run(face) {
      const consumer = await face.startConsumer()
      await assert.rejects(consumer.call('get', 1n << 63n), code('EINVAL'))
      await assert.rejects(consumer.call('get', ''), code('EINVAL'))
      await assert.rejects(consumer.call('get', 5n, 'write'), code('EINVAL'))
    },
  },
  {
    row: 'get refuses',
    name: 'get with flags 3, 4 or another permit type than XPMEM_PERMIT_MODE is EINVAL',
    on: on.cConsumer,
    async run(face) {
      const { consumer, made } = await pair(face)
      for (const flags of [3, 4, 5, 6, -1]) {
        await assert.rejects(
          consumer.call('getWith', made.segid, flags, modePermit, 0),
          code('EINVAL'),
          `flags ${flags}`,
        )
      }
      for (const type of [0, 2, 3, -1]) {
        await assert.rejects(consumer.call('getWith', made.segid, 2, type, 0), code('EINVAL'), `type ${type}`)
      }
    },
  },
  {
    row: 'get flags 0',
    name: 'get with flags 0 gives a permit, and so it does with a mode as permit value, as MPI libraries have it',
    on: on.cConsumer,
    async run(face) {
      const { owner, consumer, region, made } = await pair(face)
      await write(owner, region, 0, 'flags')
      for (const [flags, value] of [
        [0, 0],
        [1, 0],
        [2, 0o666],
      ]) {
        const permit = await consumer.call<Got>('getWith', made.segid, flags, modePermit, value)
        const attachment = await attach(consumer, permit, { length: face.pageSize })
        assert.equal(await read(consumer, attachment, 0, 5), 'flags')
      }
    },
  },
  {
    row: 'get flags 0',
    name: 'get without a word for the access gives a permit to read',
    on: on.typeScriptConsumer,
    async run(face) {
      const { owner, consumer, region, made } = await pair(face)
      await write(owner, region, 0, 'no word')
      const permit = await consumer.call<Got>('get', made.segid)
      assert.equal(await read(consumer, await attach(consumer, permit, { length: face.pageSize }), 0, 7), 'no word')
    },
  },
  {
    row: 'get nothing',
    name: 'get of what is unknown, removed, or whose owner is gone is ENOENT',
    on: on.everyFace,
    async run(face) {
      const { owner, consumer, made } = await pair(face)
      await assert.rejects(consumer.call('get', made.segid + 1_000n), code('ENOENT'))
      await owner.call('removeSegid', made.segid)
      await assert.rejects(consumer.call('get', made.segid), code('ENOENT'))
      const again = await owner.call<Made>('make', await owner.call<number>('allocate', face.pageSize))
      await owner.end('SIGKILL')
      await consumer.call('untilGone', again.segid)
      await assert.rejects(consumer.call('get', again.segid), code('ENOENT'))
    },
  },
  {
    row: 'get nothing',
    name: 'get of a name that nobody has is ENOENT',
    on: on.typeScript,
    async run(face) {
      const consumer = await face.startConsumer()
      await assert.rejects(consumer.call('get', 'no such name'), code('ENOENT'))
    },
  },
  {
    row: 'get forbidden',
    name: 'modes are those of System V IPC: owner, group, others; the owner and CAP_IPC_OWNER pass',
    on: on.everyFace,
    async run(face) {
      const { owner, region } = await pair(face)
      const stranger = await face.startStranger(65_534, 65_534, [])
      const grouped = await face.startStranger(65_533, 65_533, [0])
      const root = await face.startConsumer()
      const attempts = [
        { mode: 0o600, access: 'read', stranger: false, grouped: false },
        { mode: 0o640, access: 'read', stranger: false, grouped: true },
        { mode: 0o640, access: 'readwrite', stranger: false, grouped: false },
        { mode: 0o604, access: 'read', stranger: true, grouped: false },
        { mode: 0o666, access: 'readwrite', stranger: true, grouped: true },
      ] as const
      for (const attempt of attempts) {
        const { segid } = await owner.call<Made>('make', region, { mode: attempt.mode })
        for (const [who, process] of [
          ['stranger', stranger],
          ['grouped', grouped],
        ] as const) {
          const call = process.call('get', segid, attempt.access)
          if (attempt[who]) await call
          else await assert.rejects(call, code('EACCES'), `${who} ${attempt.mode.toString(8)}`)
        }
        await owner.call<Got>('get', segid, 'readwrite')
        await root.call<Got>('get', segid, 'readwrite')
      }
      const { segid } = await owner.call<Made>('make', region, { mode: 0 })
      await owner.call<Got>('get', segid, 'readwrite')
      await assert.rejects(stranger.call('get', segid, 'read'), code('EACCES'))
    },
  },
  {
    row: 'get own',
    name: 'an owner gets its own segment, and attaches an alias of the same memory',
    on: on.eachLanguage,
    async run(face) {
      const owner = await face.startOwner()
      for (const kind of ['allocate', 'live']) {
        const region = await owner.call<number>(kind, face.pageSize)
        await write(owner, region, 0, 'old')
        const { segid } = await owner.call<Made>('make', region)
        const permit = await owner.call<Got>('get', segid, 'readwrite')
        const alias = await attach(owner, permit, { length: face.pageSize })
        await write(owner, alias, 3, 'alias')
        assert.equal(await read(owner, region, 0, 8), 'oldalias')
        await write(owner, region, 3, 'ALIAS')
        assert.equal(await read(owner, alias, 0, 8), 'oldALIAS')
      }
    },
  },
]
