import assert from 'node:assert/strict'
import { type Case, type Got, type Made, pair, text } from './face.js'

const code = (expected: string) => ({ code: expected })

/** semantics.md, "attach, detach". */
export const attachDetachCases: Case[] = [
  {
    row: 'attach with a read-only permit reads; a store ends the process with SIGSEGV, and only it',
    async run(face) {
      const { owner, consumer, region, permit } = await pair(face, { access: 'read' })
      const attachment = await consumer.call<number>('attach', permit.handle)
      await owner.call('write', region, 0, Buffer.from('look'))
      assert.equal(text(await consumer.call('read', attachment, 0, 4)), 'look')
      await assert.rejects(consumer.call('write', attachment, 0, Buffer.from('hand')), /SIGSEGV/)
      assert.equal(text(await owner.call('read', region, 0, 4)), 'look')
    },
  },
  {
    row: 'attach: offset or address not page-aligned, negative or too far, past the end, size 0, apid 0',
    async run(face) {
      const { consumer, permit } = await pair(face)
      const page = face.pageSize
      const bad = [
        { offset: 1 },
        { offset: -page },
        { offset: 4 * page },
        { offset: 100 * page, length: page },
        { offset: page, length: 4 * page },
        { length: 0 },
        { length: -page },
        { length: Number.NaN },
        { address: 12_345n },
        { address: -4096n },
      ]
      for (const options of bad) await assert.rejects(consumer.call('attach', permit.handle, options), code('EINVAL'))
      await assert.rejects(consumer.call('attachApid', 0n), code('EINVAL'))
      await assert.rejects(consumer.call('attachApid', -1n), code('EINVAL'))
    },
  },
  {
    row: 'attach: a size that is not a multiple of the page size is rounded up',
    async run(face) {
      const { consumer, permit } = await pair(face)
      const attachment = await consumer.call<number>('attach', permit.handle, { length: face.pageSize + 1 })
      assert.equal(await consumer.call('byteLength', attachment), 2 * face.pageSize)
    },
  },
  {
    row: 'attach: apid unknown or released; segment removed',
    async run(face) {
      const { owner, consumer, made, permit } = await pair(face)
      await assert.rejects(consumer.call('attachApid', permit.apid + 1_000n), code('ENOENT'))
      const released = await consumer.call<Got>('get', made.segid)
      await consumer.call('release', released.handle)
      await assert.rejects(consumer.call('attach', released.handle), code('ENOENT'))
      await owner.call('removeSegid', made.segid)
      await assert.rejects(consumer.call('attach', permit.handle), code('ENOENT'))
    },
  },
  {
    row: 'attach at an address given, free: mapped there',
    async run(face) {
      const { consumer, permit } = await pair(face)
      const address = await consumer.call<bigint>('hole', 4 * face.pageSize)
      const attachment = await consumer.call<number>('attach', permit.handle, { address })
      assert.equal(await consumer.call('addressOf', attachment), address)
    },
  },
  {
    row: 'attach at an address given, over another attachment or onto its own source',
    async run(face) {
      const { owner, consumer, made, permit, region } = await pair(face)
      const attachment = await consumer.call<number>('attach', permit.handle)
      const address = await consumer.call<bigint>('addressOf', attachment)
      await assert.rejects(consumer.call('attach', permit.handle, { address }), code('EINVAL'))
      const own = await owner.call<Got>('get', made.segid, 'readwrite')
      const source = await owner.call<bigint>('addressOfMemory', region)
      await assert.rejects(owner.call('attach', own.handle, { address: source }), code('EINVAL'))
    },
  },
  {
    row: 'attach twice with one permit: two addresses, one memory',
    async run(face) {
      const { consumer, permit } = await pair(face)
      const first = await consumer.call<number>('attach', permit.handle)
      const second = await consumer.call<number>('attach', permit.handle)
      assert.notEqual(await consumer.call('addressOf', first), await consumer.call('addressOf', second))
      await consumer.call('write', first, 77, Buffer.from('same'))
      assert.equal(text(await consumer.call('read', second, 77, 4)), 'same')
    },
  },
  {
    row: 'detach with an address inside an attachment: the whole attachment goes',
    async run(face) {
      const { consumer, permit } = await pair(face)
      const attachment = await consumer.call<number>('attach', permit.handle)
      const address = await consumer.call<bigint>('addressOf', attachment)
      await consumer.call('detachAddress', address + BigInt(2 * face.pageSize) + 5n)
      assert.equal(await consumer.call('byteLength', attachment), 0)
      assert.equal(await consumer.call('isMapped', address), false)
    },
  },
  {
    row: 'detach: already detached, or nothing mapped there',
    async run(face) {
      const { consumer, permit } = await pair(face)
      const attachment = await consumer.call<number>('attach', permit.handle)
      const address = await consumer.call<bigint>('addressOf', attachment)
      await consumer.call('detach', attachment)
      await consumer.call('detach', attachment)
      await consumer.call('detachAddress', address)
    },
  },
  {
    row: 'detach: ordinary memory',
    async run(face) {
      const { owner, region } = await pair(face)
      const ordinary = await owner.call<number>('wasm', 1)
      for (const memory of [region, ordinary]) {
        const address = await owner.call<bigint>('addressOfMemory', memory)
        await assert.rejects(owner.call('detachAddress', address), code('EINVAL'))
      }
    },
  },
  {
    row: 'read(2) into and write(2) from an attachment',
    async run(face) {
      const { owner, consumer, region, permit } = await pair(face)
      const attachment = await consumer.call<number>('attach', permit.handle)
      await owner.call('write', region, 0, Buffer.from('through a file'))
      assert.equal(text(await consumer.call('throughFile', attachment, 0, 2 * face.pageSize, 14)), 'through a file')
    },
  },
  {
    row: 'futex on an attachment: one process wakes another',
    async run(face) {
      const { owner, consumer, region, permit } = await pair(face)
      const attachment = await consumer.call<number>('attach', permit.handle)
      const waited = consumer.call('futexWait', attachment, 0, 0)
      while ((await owner.call<number>('futexWake', region, 0)) === 0);
      assert.equal(await waited, 'ok')
    },
  },
  {
    row: 'release: its attachments go',
    async run(face) {
      const { consumer, permit } = await pair(face)
      const attachments = [
        await consumer.call<number>('attach', permit.handle),
        await consumer.call<number>('attach', permit.handle, { offset: face.pageSize }),
      ]
      const addresses: bigint[] = []
      for (const attachment of attachments) addresses.push(await consumer.call<bigint>('addressOf', attachment))
      await consumer.call('release', permit.handle)
      for (const attachment of attachments) assert.equal(await consumer.call('byteLength', attachment), 0)
      for (const address of addresses) assert.equal(await consumer.call('isMapped', address), false)
    },
  },
]

/** semantics.md, "release, remove, the end". */
export const endCases: Case[] = [
  {
    row: 'release twice or unknown; 0 or negative',
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
    row: "release of another process's permit; remove of another process's segment",
    async run(face) {
      const { owner, consumer, made, permit } = await pair(face)
      await assert.rejects(owner.call('releaseApid', permit.apid), code('EACCES'))
      await assert.rejects(owner.call('attachApid', permit.apid), code('EACCES'))
      await assert.rejects(consumer.call('removeSegid', made.segid), code('EACCES'))
      await consumer.call<number>('attach', permit.handle)
    },
  },
  {
    row: 'remove twice, unknown; 0',
    async run(face) {
      const { owner, made } = await pair(face)
      await owner.call('remove', made.handle)
      await assert.rejects(owner.call('remove', made.handle), code('ENOENT'))
      await assert.rejects(owner.call('removeSegid', made.segid + 1_000n), code('ENOENT'))
      await assert.rejects(owner.call('removeSegid', 0n), code('EINVAL'))
    },
  },
  {
    row: 'remove while attached: revoked when it answers; detach and release are fine, attach is ENOENT',
    async run(face) {
      const { owner, consumer, region, made, permit } = await pair(face)
      await owner.call('write', region, 0, Buffer.from('secret'))
      const touched = await consumer.call<number>('attach', permit.handle)
      const untouched = await consumer.call<number>('attach', permit.handle)
      assert.equal(text(await consumer.call('read', touched, 0, 6)), 'secret')
      const address = await consumer.call<bigint>('addressOf', touched)
      await owner.call('remove', made.handle)
      assert.notEqual(text(await owner.call('peek', consumer.pid, address, 6)), 'secret')
      assert.equal(await consumer.call('byteLength', touched), 0)
      assert.equal(await consumer.call('byteLength', untouched), 0)
      assert.equal(await consumer.call('revoked', touched), true)
      await consumer.call('detach', touched)
      await assert.rejects(consumer.call('attach', permit.handle), code('ENOENT'))
      await consumer.call('release', permit.handle)
      assert.equal(text(await owner.call('read', region, 0, 6)), 'secret')
    },
  },
  {
    row: 'owner killed while attached: revoked; get and attach ENOENT, detach and release fine',
    async run(face) {
      const { owner, consumer, made, permit } = await pair(face)
      const attachment = await consumer.call<number>('attach', permit.handle)
      await owner.end('SIGKILL')
      await consumer.call('untilRevoked', attachment)
      assert.equal(await consumer.call('byteLength', attachment), 0)
      await assert.rejects(consumer.call('get', made.segid), code('ENOENT'))
      await assert.rejects(consumer.call('attach', permit.handle), code('ENOENT'))
      await consumer.call('detach', attachment)
      await consumer.call('release', permit.handle)
    },
  },
  {
    row: "owner killed while attached with onOwnerExit 'keep': the last content stays",
    async run(face) {
      const { owner, consumer, region, made, permit } = await pair(face)
      const attachment = await consumer.call<number>('attach', permit.handle, { onOwnerExit: 'keep' })
      const strict = await consumer.call<number>('attach', permit.handle)
      await owner.call('write', region, 0, Buffer.from('last words'))
      await owner.end('SIGKILL')
      await consumer.call('untilGone', made.segid)
      await consumer.call('untilRevoked', strict)
      assert.equal(text(await consumer.call('read', attachment, 0, 10)), 'last words')
      await assert.rejects(consumer.call('attach', permit.handle), code('ENOENT'))
    },
  },
  {
    row: 'owner unmaps the memory while attached: attachers keep the last content',
    async run(face) {
      const owner = await face.start()
      const consumer = await face.start()
      const region = await owner.call<number>('allocate', face.pageSize)
      await owner.call('write', region, 0, Buffer.from('kept'))
      const address = await owner.call<bigint>('addressOfMemory', region)
      const { segid } = await owner.call<Made>('makeRange', address, face.pageSize)
      const permit = await consumer.call<Got>('get', segid)
      const attachment = await consumer.call<number>('attach', permit.handle)
      await owner.call('dropMemory', region, address)
      assert.equal(text(await consumer.call('read', attachment, 0, 4)), 'kept')
    },
  },
]
