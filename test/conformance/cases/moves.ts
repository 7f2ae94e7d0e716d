import assert from 'node:assert/strict'
import { type Case, on, read, write } from '../face.js'
import { attachMemory, wholePair } from './whole.js'

const mebibyte = 2 ** 20

/** What becomes of shared memory that its owner, a C program, unmaps, frees, grows or gives back. */
export const moveCases: Case[] = [
  {
    row: 'owner unmaps',
    name: 'memory mapped anew at an old address is what a new attach sees; the old attachment keeps the old content',
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const bytes = 4 * face.pageSize
      const memory = await owner.call<number>('memory', 'anonymous', bytes)
      await owner.call('fill', memory, 0, bytes, 1)
      const old = await attachMemory(face, scene, memory, bytes)
      for (const seed of [2, 3]) {
        await owner.call('munmap', memory, 0, bytes)
        await owner.call('mapAnew', memory)
        await owner.call('fill', memory, 0, bytes, seed)
        const anew = await attachMemory(face, scene, memory, bytes)
        assert.equal(await consumer.call('compare', anew.attachment, 0, bytes, seed), -1)
        await write(consumer, anew.attachment, 100, 'new')
        assert.equal(await read(owner, memory, 100, 3), 'new')
        assert.equal(await consumer.call('compare', old.attachment, 0, bytes, 1), -1)
      }
    },
  },
  {
    row: 'owner unmaps',
    name: 'a page in the middle that is mapped anew is new to the next attach, and its neighbours are as they were',
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const page = face.pageSize
      const memory = await owner.call<number>('memory', 'anonymous', 3 * page)
      await owner.call('fill', memory, 0, 3 * page, 4)
      const old = await attachMemory(face, scene, memory, 3 * page)
      await owner.call('munmap', memory, page, page)
      await owner.call('mapAnewAt', memory, page, page)
      await write(owner, memory, page, 'anew')
      const anew = await attachMemory(face, scene, memory, 3 * page)
      assert.equal(await consumer.call('compare', anew.attachment, 0, page, 4), -1)
      assert.equal(await read(consumer, anew.attachment, page, 8), 'anew\0\0\0\0')
      assert.equal(await consumer.call('compare', old.attachment, 0, 3 * page, 4), -1)
      await write(owner, memory, 2 * page, 'old page')
      for (const { attachment } of [old, anew]) {
        assert.equal(await read(consumer, attachment, 2 * page, 8), 'old page')
      }
    },
  },
  {
    row: 'owner unmaps',
    name: 'a buffer that is freed and another that malloc gives are two memories to attachers',
    on: on.cOwner,
    notUnder: {
      address: "its free keeps the memory and writes in it, where the C library's unmaps it",
      thread: "its free keeps the memory, where the C library's unmaps it",
    },
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const bytes = mebibyte
      let old: { seed: number; attachment: number; at: number } | undefined
      // The first is a mapping of its own, which free unmaps.
      for (const seed of [11, 12]) {
        const memory = await owner.call<number>('memory', 'malloc', bytes)
        await owner.call('fill', memory, 0, bytes, seed)
        const { attachment, at } = await attachMemory(face, scene, memory, bytes)
        assert.equal(await consumer.call('compare', attachment, at, bytes, seed), -1)
        if (old !== undefined) assert.equal(await consumer.call('compare', old.attachment, old.at, bytes, old.seed), -1)
        await owner.call('free', memory)
        old = { seed, attachment, at }
      }
    },
  },
  {
    row: 'make everything',
    name: 'a shared buffer that realloc grows keeps its content, can be written to its end and attached again',
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const memory = await owner.call<number>('memory', 'malloc', mebibyte)
      await owner.call('fill', memory, 0, mebibyte, 21)
      await attachMemory(face, scene, memory, mebibyte)
      for (const [from, to] of [
        [1, 3],
        [3, 16],
        [16, 2],
        [2, 40],
      ] as const) {
        await owner.call('realloc', memory, to * mebibyte)
        assert.equal(await owner.call('compare', memory, 0, Math.min(from, to) * mebibyte, 21), -1, `${from} to ${to}`)
        await owner.call('fill', memory, 0, to * mebibyte, 21)
        const { attachment, at } = await attachMemory(face, scene, memory, to * mebibyte)
        assert.equal(await consumer.call('compare', attachment, at, to * mebibyte, 21), -1, `${from} to ${to}`)
        await write(consumer, attachment, at + to * mebibyte - 3, 'end')
        assert.equal(await read(owner, memory, to * mebibyte - 3, 3), 'end')
        await owner.call('fill', memory, 0, to * mebibyte, 21)
      }
    },
  },
  {
    row: 'make everything',
    name: 'a shared mapping that mremap grows can be written to its end, and what is new there is zero',
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const memory = await owner.call<number>('memory', 'anonymous', 4 * face.pageSize)
      await owner.call('fill', memory, 0, 4 * face.pageSize, 5)
      await attachMemory(face, scene, memory, 4 * face.pageSize)
      const bytes = 4 * mebibyte
      await owner.call('mremap', memory, bytes)
      assert.equal(await owner.call('compare', memory, 0, 4 * face.pageSize, 5), -1)
      for (const at of [4 * face.pageSize, mebibyte, bytes - 6]) {
        assert.equal(await read(owner, memory, at, 6), '\0'.repeat(6))
        await write(owner, memory, at, 'beyond')
      }
      const { attachment } = await attachMemory(face, scene, memory, bytes)
      assert.equal(await read(consumer, attachment, bytes - 6, 6), 'beyond')
    },
  },
  {
    row: 'make everything',
    name: 'MADV_DONTNEED by the owner leaves the content of memory that was attached, unlike that of other memory',
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner, consumer } = scene
      const bytes = 2 * face.pageSize
      const memory = await owner.call<number>('memory', 'anonymous', bytes)
      await owner.call('fill', memory, 0, bytes, 6)
      const { attachment } = await attachMemory(face, scene, memory, bytes)
      await owner.call('dontneed', memory, 0, bytes)
      assert.equal(await owner.call('compare', memory, 0, bytes, 6), -1)
      assert.equal(await consumer.call('compare', attachment, 0, bytes, 6), -1)
      await write(owner, memory, 0, 'coherent')
      assert.equal(await read(consumer, attachment, 0, 8), 'coherent')
    },
  },
  {
    row: 'make everything',
    name: 'what calloc gives is zero while other threads allocate and the heap is attached piece by piece',
    on: on.cOwner,
    async run(face) {
      const scene = await wholePair(face)
      const { owner } = scene
      await owner.call('churn', 4)
      for (let round = 0; round < 60; round += 1) {
        const memory = await owner.call<number>('memory', 'malloc', 64 + 1_500 * round)
        await write(owner, memory, 0, 'mine')
        const { attachment, at } = await attachMemory(face, scene, memory, 64 + 1_500 * round)
        assert.equal(await read(scene.consumer, attachment, at, 4), 'mine')
        await scene.consumer.call('detach', attachment)
        await owner.call('free', memory)
      }
      assert.equal(await owner.call('stopChurn'), 0)
    },
  },
]
