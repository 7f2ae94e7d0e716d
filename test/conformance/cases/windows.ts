import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { attach, type Case, code, type Face, type Got, type Made, on, type Process, read, write } from '../face.js'
import { attachMemory, wholePair } from './whole.js'

const windowBytes = 8 * 2 ** 20
const row = 'make everything'

const own = "the sanitizer's own memory lies in the windows, too, and cannot be moved under it"
const notUnder = { address: own, thread: own }

type Scene = Awaited<ReturnType<typeof wholePair>>

const addressOf = async (process: Process, memory: number) =>
  Number(await process.call<bigint>('addressOfMemory', memory))

/** Attaches whole windows of 8 MiB around some addresses, as MPI libraries do; `base` is where they begin in the owner. */
async function attachWindows({ consumer, permit }: Scene, ...addresses: number[]) {
  const base = Math.floor(Math.min(...addresses) / windowBytes) * windowBytes
  const length = Math.ceil((Math.max(...addresses) + 1 - base) / windowBytes) * windowBytes
  return { attachment: await attach(consumer, permit, { offset: base, length }), base }
}

/** A data segment of the owner's, where it lies, and where its text does. */
async function dataAndText({ owner }: Scene): Promise<{ data: number; at: number; text: number }> {
  const data = await owner.call<number>('memory', 'data', 16_384)
  const text = await owner.call<number>('memory', 'text', 1)
  return { data, at: await addressOf(owner, data), text: await addressOf(owner, text) }
}

/** Where the windows begin that have some mapping of a process in them. */
function windowsOf(pid: number): number[] {
  const starts = new Set<number>()
  for (const line of readFileSync(`/proc/${pid}/maps`, 'latin1').trim().split('\n')) {
    const [start = 0, end = 0] = (line.split(' ')[0] ?? '').split('-').map((hex) => Number.parseInt(hex, 16))
    for (
      let at = Math.floor(start / windowBytes) * windowBytes;
      at < Math.min(end, 2 ** 47 - windowBytes);
      at += windowBytes
    )
      starts.add(at)
  }
  return [...starts]
}

/** Attaches each of these windows and lets go of it; those that have nothing to share. */
async function attachEach({ consumer, permit }: Scene, windows: readonly number[]): Promise<number[]> {
  const refused: number[] = []
  for (const offset of windows) {
    try {
      const attachment = await attach(consumer, permit, { offset, length: windowBytes })
      await consumer.call('detach', attachment)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EFAULT') throw error
      refused.push(offset)
    }
  }
  return refused
}

/** An owner with five pages, of which the third is an attachment of another's memory. */
async function neighbours(face: Face) {
  const scene = await wholePair(face)
  const { owner } = scene
  const page = face.pageSize
  const other = await face.startOwner()
  const foreign = await other.call<number>('allocate', page)
  await write(other, foreign, 0, 'foreign')
  const { segid } = await other.call<Made>('make', foreign)
  const permit = await owner.call<Got>('get', segid, 'readwrite')
  const memory = await owner.call<number>('memory', 'anonymous', 5 * page)
  const address = BigInt((await addressOf(owner, memory)) + 2 * page)
  const attachment = await attach(owner, permit, { length: page, address })
  return { scene, memory, attachment, page }
}

/** What a range has that cannot be shared does not keep the rest of it from being attached. */
export const windowCases: Case[] = [
  {
    row,
    name: 'windows over the whole program are attached: its data is live, its text SIGBUS; TypeScript is told EFAULT',
    on: on.cOwner,
    notUnder,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const { data, at, text } = await dataAndText(scene)
      const attaching = attachWindows(scene, at, text)
      if (consumer.language === 'TypeScript') return assert.rejects(attaching, code('EFAULT'))
      const first = await attaching
      await write(owner, data, 100, 'owner')
      assert.equal(await read(consumer, first.attachment, at - first.base + 100, 5), 'owner')
      await write(consumer, first.attachment, at - first.base + 100, 'guest')
      assert.equal(await read(owner, data, 100, 5), 'guest')
      await assert.rejects(read(consumer, first.attachment, text - first.base, 1), code('SIGBUS'))
    },
  },
  {
    row,
    name: 'windows that were attached once are attached again while the owner is stopped, also with text in them',
    on: on.c,
    notUnder,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const { data, at, text } = await dataAndText(scene)
      await attachWindows(scene, at, text)
      await write(owner, data, 0, 'stopped')
      owner.signal('SIGSTOP')
      const { attachment, base } = await attachWindows(scene, at, text)
      assert.equal(await read(consumer, attachment, at - base, 7), 'stopped')
      await assert.rejects(read(consumer, attachment, text - base, 1), code('SIGBUS'))
      owner.signal('SIGCONT')
    },
  },
  {
    row,
    name: 'all windows of a program can be attached, also while it is stopped, and it goes on: libraries, stacks and heap',
    on: on.c,
    notUnder,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      await owner.call('memory', 'thread stack', 0)
      const windows = windowsOf(owner.pid)
      assert.ok((await attachEach(scene, windows)).length < windows.length)
      const buffer = await owner.call<number>('memory', 'malloc', 300_000)
      await owner.call('fill', buffer, 0, 300_000, 8)
      const { attachment, at } = await attachMemory(face, scene, buffer, 300_000)
      assert.equal(await consumer.call('compare', attachment, at, 300_000, 8), -1)
      await (await face.fork(owner)).end()
      assert.equal(await owner.call('compare', buffer, 0, 300_000, 8), -1)
      const there = windowsOf(owner.pid)
      const refused = await attachEach(scene, there)
      owner.signal('SIGSTOP')
      assert.deepEqual(await attachEach(scene, there), refused)
      owner.signal('SIGCONT')
      assert.equal(await owner.call('compare', buffer, 0, 300_000, 8), -1)
    },
  },
  {
    row,
    name: "memory around an attachment of the owner's is attached, and the attachment is SIGBUS in it, while the owner is stopped, too",
    on: on.c,
    async run(face) {
      const { scene, memory, page } = await neighbours(face)
      const { owner, consumer } = scene
      const first = await attachMemory(face, scene, memory, 5 * page)
      await write(consumer, first.attachment, page, 'before')
      assert.equal(await read(owner, memory, page, 6), 'before')
      await assert.rejects(read(consumer, first.attachment, 2 * page, 1), code('SIGBUS'))
      const range = { offset: await addressOf(owner, memory), length: 5 * page }
      owner.signal('SIGSTOP')
      const second = await attach(consumer, scene.permit, range)
      owner.signal('SIGCONT')
      await write(owner, memory, 3 * page, 'after')
      assert.equal(await read(consumer, second, 3 * page, 5), 'after')
      await assert.rejects(read(consumer, second, 3 * page - 1, 1), code('SIGBUS'))
    },
  },
  {
    row,
    name: "what is mapped where an attachment of the owner's was is what a new attach sees",
    on: on.c,
    async run(face) {
      const { scene, memory, attachment, page } = await neighbours(face)
      const { owner, consumer } = scene
      await attachMemory(face, scene, memory, 5 * page)
      await owner.call('detach', attachment)
      await owner.call('mapAnewAt', memory, 2 * page, page)
      await write(owner, memory, 2 * page, 'own')
      const anew = await attachMemory(face, scene, memory, 5 * page)
      assert.equal(await read(consumer, anew.attachment, 2 * page, 3), 'own')
    },
  },
  {
    row,
    name: 'memory beside huge pages is attached, and these are SIGBUS in it',
    on: on.c,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const hugeBytes = 2 * 2 ** 20
      const memory = await owner.call<number>('memory', 'huge', hugeBytes)
      await write(owner, memory, hugeBytes, 'beside')
      const { attachment } = await attachMemory(face, scene, memory, hugeBytes + face.pageSize)
      assert.equal(await read(consumer, attachment, hugeBytes, 6), 'beside')
      await assert.rejects(read(consumer, attachment, hugeBytes - 1, 1), code('SIGBUS'))
    },
  },
  {
    row,
    name: "a range of nothing but text, or of nothing but an attachment of the owner's, is EFAULT",
    on: on.cOwner,
    async run(face) {
      const { scene, memory, page } = await neighbours(face)
      const { owner, consumer, permit } = scene
      const text = await addressOf(owner, await owner.call<number>('memory', 'text', 1))
      const attached = (await addressOf(owner, memory)) + 2 * page
      for (const offset of [text, attached]) {
        await assert.rejects(attach(consumer, permit, { offset, length: page }), code('EFAULT'))
      }
    },
  },
]
