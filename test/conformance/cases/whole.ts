import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runtimeDirectory } from '../../support/service.js'
import { until } from '../../support/until.js'
import { attach, type Case, code, type Face, type Got, type Made, on, type Process, read, write } from '../face.js'

const mebibyte = 2 ** 20
const row = 'make everything'

/** A C owner of its whole address space, and a consumer with a permit on it. */
export async function wholePair(face: Face) {
  const owner = await face.startOwner()
  const consumer = await face.startConsumer()
  const { segid } = await owner.call<Made>('makeEverything')
  const permit = await consumer.call<Got>('get', segid, 'readwrite')
  return { owner, consumer, permit, segid }
}

/** Attaches the pages that some memory of the owner lies on; `at` is where it begins in the attachment. */
export async function attachMemory(
  face: Face,
  pairOf: { owner: Process; consumer: Process; permit: Got },
  memory: number,
  length: number,
) {
  const address = Number(await pairOf.owner.call<bigint>('addressOfMemory', memory))
  const at = address % face.pageSize
  const options = { offset: address - at, length: at + length }
  return { attachment: await attach(pairOf.consumer, pairOf.permit, options), at }
}

/** A file of a length, with 'file' at its start. */
function someFile(face: Face, length: number): string {
  const path = join(runtimeDirectory(face.t), 'file')
  const content = Buffer.alloc(length)
  content.write('file')
  writeFileSync(path, content)
  return path
}

interface Kind {
  readonly title: string
  readonly kind: string
  readonly bytes: number
}

const kinds: readonly Kind[] = [
  { title: 'initialised data', kind: 'data', bytes: 16_384 },
  { title: 'data that is zero at first (.bss)', kind: 'bss', bytes: 16_384 },
  { title: 'a small malloc', kind: 'malloc', bytes: 100 },
  { title: 'a malloc of 100 KiB', kind: 'malloc', bytes: 102_400 },
  { title: 'a malloc of 5 MiB', kind: 'malloc', bytes: 5 * mebibyte },
  { title: 'one page of anonymous memory', kind: 'anonymous', bytes: 4096 },
  { title: "the main thread's stack", kind: 'main stack', bytes: 16_384 },
  { title: "another thread's stack", kind: 'thread stack', bytes: 16_384 },
  { title: 'a private mapping of a file', kind: 'private file', bytes: 65_536 },
]

const kindCases = kinds.map(
  ({ title, kind, bytes }): Case => ({
    row,
    name: `${title} can be attached, and owner and consumer see what the other writes`,
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const path = kind === 'private file' ? [someFile(face, bytes)] : []
      const memory = await owner.call<number>('memory', kind, bytes, ...path)
      if (path.length > 0) assert.equal(await read(owner, memory, 0, 4), 'file')
      await write(owner, memory, 32, 'before')
      const { attachment, at } = await attachMemory(face, scene, memory, bytes)
      assert.equal(await read(consumer, attachment, at + 32, 6), 'before')
      if (path.length > 0) assert.equal(await read(consumer, attachment, at, 4), 'file')
      await write(owner, memory, 48, 'owner')
      assert.equal(await read(consumer, attachment, at + 48, 5), 'owner')
      await write(consumer, attachment, at + bytes - 8, 'consumer')
      assert.equal(await read(owner, memory, bytes - 8, 8), 'consumer')
      for (const file of path) assert.equal(readFileSync(file).toString('latin1', 32, 38), '\0'.repeat(6))
    },
  }),
)

export const wholeCases: Case[] = [
  ...kindCases,
  {
    row,
    name: 'a thread goes on counting on its stack while that is attached, and sees there what the consumer writes',
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const stack = await owner.call<number>('memory', 'thread stack', 0)
      const { attachment, at } = await attachMemory(face, scene, stack, face.pageSize)
      const count = () => read(consumer, attachment, at, 8)
      const before = await count()
      await until(async () => (await count()) !== before)
      await consumer.call('write', attachment, at + 8, Uint8Array.of(1))
      await until(() => owner.events.includes('guest ended'))
    },
  },
  {
    row,
    name: 'a thread attaches its own stack, and the main thread its own, and both are one memory with it',
    on: on.c,
    async run(face) {
      const { owner, segid } = await wholePair(face)
      assert.equal(await owner.call('aliasThreadStack', segid), true)
      assert.equal(await owner.call('aliasMainStack', segid), true)
      assert.equal(await owner.call('aliasThreadStack', segid), true)
    },
  },
  {
    row,
    name: 'of 256 MiB of which little was written all can be attached at once, and the rest is zero',
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const bytes = 256 * mebibyte
      const memory = await owner.call<number>('memory', 'anonymous', bytes)
      const places = [0, 100 * mebibyte + 5, 200 * mebibyte - 3, bytes - 6]
      for (const place of places) await write(owner, memory, place, 'island')
      const { attachment } = await attachMemory(face, scene, memory, bytes)
      for (const place of places) assert.equal(await read(consumer, attachment, place, 6), 'island')
      for (const place of [50 * mebibyte, 150 * mebibyte, bytes - 12]) {
        assert.equal(await read(consumer, attachment, place, 6), '\0'.repeat(6))
        await write(consumer, attachment, place, 'bridge')
        assert.equal(await read(owner, memory, place, 6), 'bridge')
      }
    },
  },
  {
    row,
    name: 'memory that its owner can only read is attached as it is, and the owner still cannot write it',
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const bytes = 3 * face.pageSize
      const memory = await owner.call<number>('memory', 'read-only', bytes)
      const { attachment } = await attachMemory(face, scene, memory, bytes)
      assert.equal(await consumer.call('compare', attachment, 0, bytes, 1), -1)
      assert.equal(await owner.call('compare', memory, 0, bytes, 1), -1)
      await assert.rejects(write(owner, memory, 0, 'x'), code('SIGSEGV'))
    },
  },
  {
    row,
    name: 'a shared mapping of a file is attached as it is in C, and writes reach the file; TypeScript is told EFAULT',
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const bytes = 4 * face.pageSize
      const path = someFile(face, bytes)
      const memory = await owner.call<number>('memory', 'shared file', bytes, path)
      const attaching = attachMemory(face, scene, memory, bytes)
      // Whoever truncates the file would end a JavaScript program.
      if (consumer.language === 'TypeScript') return assert.rejects(attaching, code('EFAULT'))
      const { attachment } = await attaching
      assert.equal(await read(consumer, attachment, 0, 4), 'file')
      await write(consumer, attachment, face.pageSize, 'consumer')
      assert.equal(await read(owner, memory, face.pageSize, 8), 'consumer')
      assert.equal(readFileSync(path).toString('latin1', face.pageSize, face.pageSize + 8), 'consumer')
      writeFileSync(path, 'outside', { flag: 'r+' })
      assert.equal(await read(consumer, attachment, 0, 7), 'outside')
    },
  },
  {
    row,
    name: 'shared anonymous memory is attached as it is in C; TypeScript is told EFAULT',
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const memory = await owner.call<number>('memory', 'shared anonymous', 2 * face.pageSize)
      await write(owner, memory, 5, 'shared')
      const attaching = attachMemory(face, scene, memory, 2 * face.pageSize)
      if (consumer.language === 'TypeScript') return assert.rejects(attaching, code('EFAULT'))
      const { attachment } = await attaching
      assert.equal(await read(consumer, attachment, 5, 6), 'shared')
      await write(consumer, attachment, 5, 'SHARED')
      assert.equal(await read(owner, memory, 5, 6), 'SHARED')
    },
  },
  {
    row: 'attach a hole',
    name: 'memory without access is as a hole: C attaches it, SIGBUS on access; TypeScript is told EFAULT',
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const memory = await owner.call<number>('memory', 'inaccessible', 2 * face.pageSize)
      const attaching = attachMemory(face, scene, memory, 2 * face.pageSize)
      if (consumer.language === 'TypeScript') return assert.rejects(attaching, code('EFAULT'))
      const { attachment } = await attaching
      await assert.rejects(read(consumer, attachment, 0, 1), code('SIGBUS'))
      await assert.rejects(write(consumer, attachment, face.pageSize, 'x'), code('SIGBUS'))
    },
  },
  {
    row: 'attach a hole',
    name: 'an attachment over memory, a hole and memory again has SIGBUS in the hole alone',
    on: on.c,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const page = face.pageSize
      const memory = await owner.call<number>('memory', 'anonymous', 5 * page)
      await owner.call('fill', memory, 0, 5 * page, 9)
      await owner.call('munmap', memory, 2 * page, page)
      const { attachment } = await attachMemory(face, scene, memory, 5 * page)
      assert.equal(await consumer.call('compare', attachment, 0, 2 * page, 9), -1)
      await assert.rejects(read(consumer, attachment, 2 * page, 1), code('SIGBUS'))
      await assert.rejects(read(consumer, attachment, 3 * page - 1, 1), code('SIGBUS'))
      await write(owner, memory, 3 * page, 'beyond')
      assert.equal(await read(consumer, attachment, 3 * page, 6), 'beyond')
    },
  },
]
