import assert from 'node:assert/strict'
import { type Case, type Got, type Made, pair, text } from './face.js'

const code = (expected: string) => ({ code: expected })

/** semantics.md, "make, get". */
export const makeGetCases: Case[] = [
  {
    row: 'make: size 0; address or size not page-aligned; permission bits outside 0777',
    async run(face) {
      const owner = await face.start()
      const page = face.pageSize
      const region = await owner.call<number>('allocate', 2 * page)
      const base = await owner.call<bigint>('addressOfMemory', region)
      for (const [address, length] of [
        [base, 0],
        [base + 8n, page],
        [base, page - 1],
      ] as const) {
        await assert.rejects(owner.call('makeRange', address, length), code('EINVAL'))
      }
      for (const mode of [0o1000, -1]) await assert.rejects(owner.call('make', region, { mode }), code('EINVAL'))
    },
  },
  {
    row: 'make: a range with nothing mapped is offered; attaching it says so',
    async run(face) {
      const owner = await face.start()
      const consumer = await face.start()
      const { segid } = await owner.call<Made>(
        'makeRange',
        await owner.call<bigint>('hole', face.pageSize),
        face.pageSize,
      )
      const permit = await consumer.call<Got>('get', segid, 'read')
      await assert.rejects(consumer.call('attach', permit.handle), code('EFAULT'))
    },
  },
  {
    row: 'make: range past the end of the address space',
    async run(face) {
      const owner = await face.start()
      await assert.rejects(owner.call('makeRange', 1n << 47n, face.pageSize), code('EINVAL'))
      await assert.rejects(owner.call('makeRange', (1n << 63n) - 4096n, face.pageSize), code('EINVAL'))
    },
  },
  {
    row: 'make: the whole address space; memory anywhere in it can be attached and written',
    async run(face) {
      const owner = await face.start()
      const consumer = await face.start()
      const { segid } = await owner.call<Made>('makeRange', 0n, 2 ** 47 - face.pageSize)
      const memory = await owner.call<number>('wasm', 1)
      await owner.call('write', memory, 100, Buffer.from('anywhere'))
      const offset = Number(await owner.call<bigint>('addressOfMemory', memory))
      const permit = await consumer.call<Got>('get', segid, 'readwrite')
      const attachment = await consumer.call<number>('attach', permit.handle, { offset, length: face.pageSize })
      assert.equal(text(await consumer.call('read', attachment, 100, 8)), 'anywhere')
      await consumer.call('write', attachment, 100, Buffer.from('ANYWHERE'))
      assert.equal(text(await owner.call('read', memory, 100, 8)), 'ANYWHERE')
    },
  },
  {
    row: 'make twice on one range: two segids, one memory',
    async run(face) {
      const owner = await face.start()
      const consumer = await face.start()
      for (const kind of ['allocate', 'wasm']) {
        const memory = await owner.call<number>(kind, kind === 'wasm' ? 1 : face.pageSize)
        const first = await owner.call<Made>('make', memory)
        const second = await owner.call<Made>('make', memory)
        assert.notEqual(first.segid, second.segid)
        const attachments: number[] = []
        for (const { segid } of [first, second]) {
          const permit = await consumer.call<Got>('get', segid, 'readwrite')
          attachments.push(await consumer.call<number>('attach', permit.handle))
        }
        await consumer.call('write', attachments[0], 9, Buffer.from(kind))
        assert.equal(text(await consumer.call('read', attachments[1], 9, kind.length)), kind)
        assert.equal(text(await owner.call('read', memory, 9, kind.length)), kind)
      }
    },
  },
  {
    row: 'get: segid 0 or negative; unknown access',
    async run(face) {
      const consumer = await face.start()
      await assert.rejects(consumer.call('get', 0n), code('EINVAL'))
      await assert.rejects(consumer.call('get', -5n), code('EINVAL'))
      await assert.rejects(consumer.call('get', 1n << 63n), code('EINVAL'))
      await assert.rejects(consumer.call('get', ''), code('EINVAL'))
      await assert.rejects(consumer.call('get', 5n, 'write'), code('EINVAL'))
    },
  },
  {
    row: 'get: unknown, removed, owner gone',
    async run(face) {
      const { owner, consumer, made } = await pair(face)
      await assert.rejects(consumer.call('get', made.segid + 1_000n), code('ENOENT'))
      await assert.rejects(consumer.call('get', 'no such name'), code('ENOENT'))
      await owner.call('removeSegid', made.segid)
      await assert.rejects(consumer.call('get', made.segid), code('ENOENT'))
      const region = await owner.call<number>('allocate', 1)
      const again = await owner.call<Made>('make', region)
      await owner.end('SIGKILL')
      await consumer.call('untilGone', again.segid)
      await assert.rejects(consumer.call('get', again.segid), code('ENOENT'))
    },
  },
  {
    row: 'get: mode bits refuse, as System V IPC has them; CAP_IPC_OWNER passes',
    async run(face) {
      const { owner, region } = await pair(face)
      const stranger = await face.startAs(65_534, 65_534, [])
      if (stranger === undefined) return assert.fail('run this as root: it needs a second user')
      const grouped = await face.startAs(65_533, 65_533, [0])
      const attempts = [
        { mode: 0o600, access: 'read', stranger: false, grouped: false },
        { mode: 0o640, access: 'read', stranger: false, grouped: true },
        { mode: 0o640, access: 'readwrite', stranger: false, grouped: false },
        { mode: 0o604, access: 'read', stranger: true, grouped: false },
        { mode: 0o666, access: 'readwrite', stranger: true, grouped: true },
      ] as const
      for (const attempt of attempts) {
        const { segid } = await owner.call<Made>('make', region, { mode: attempt.mode })
        for (const who of ['stranger', 'grouped'] as const) {
          const call = (who === 'stranger' ? stranger : grouped)?.call('get', segid, attempt.access)
          if (attempt[who]) await call
          else await assert.rejects(call as Promise<unknown>, code('EACCES'), `${who} ${attempt.mode.toString(8)}`)
        }
        await owner.call<Got>('get', segid, 'readwrite')
      }
      const { segid } = await owner.call<Made>('make', region, { mode: 0 })
      await owner.call<Got>('get', segid, 'readwrite')
    },
  },
  {
    row: 'get by the owner itself, attach in the owner: an alias of the same memory',
    async run(face) {
      const owner = await face.start()
      const region = await owner.call<number>('allocate', face.pageSize)
      const { segid } = await owner.call<Made>('make', region)
      const permit = await owner.call<Got>('get', segid, 'readwrite')
      const alias = await owner.call<number>('attach', permit.handle)
      await owner.call('write', alias, 3, Buffer.from('alias'))
      assert.equal(text(await owner.call('read', region, 3, 5)), 'alias')
    },
  },
]
