/** When the copies of a peer's files are given up, and in which order. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { kernel } from '../../src/kernel/index.js'
import { Budget } from '../../src/pager/budget.js'
import type { CacheFile } from '../../src/pager/cache-file.js'
import { Caches, type HomeMessage } from '../../src/partitions/caches.js'
import type { Peer } from '../../src/partitions/peer.js'

const file = 5
const length = 4 * kernel.pageSize
const kind = { cache: 0, access: 'write' } as const

/** Copies of a home that says nothing by itself, and what happens to them. */
function setUp() {
  const log: string[] = []
  const say = (name: string) => log.push(name)
  const link = { send: say, sendPages: say, request: async (name: string) => say(name) }
  const peer = { link, counters: { pagesIn: 0, pagesOut: 0 } } as unknown as Peer
  const disarm = async (_copy: CacheFile) => void log.push('disarm')
  return { log, caches: new Caches(peer, { holdMs: 0, flushMs: 3_600_000, budget: new Budget(length) }, disarm) }
}

function dataOf(words: string): HomeMessage {
  const bytes = Buffer.from(words.padEnd(kernel.pageSize, '.'))
  return { name: 'data', request: 0, file, cache: 0, first: 0, count: 1, way: 2, bytes } as unknown as HomeMessage
}

function wanted(caches: Caches, ...apids: bigint[]): CacheFile {
  for (const apid of apids) caches.use(file, length, kind, apid).attached({ first: 0, count: 4 })
  const copy = caches.use(file, length, kind, apids[0] as bigint)
  copy.fault(0, 'write', true)
  return copy
}

function wordsOf(copy: CacheFile): string {
  const bytes = Buffer.alloc(kernel.pageSize)
  copy.file.read(0, 1, bytes, 0)
  return bytes.toString('latin1', 0, 4)
}

test('a copy that is left to its processes has what was asked for before they are let go, and home has it last', async () => {
  const { log, caches } = setUp()
  const copy = wanted(caches, 1n)
  const mapped = copy.file.descriptor.retain()
  caches.release(1n, true)
  await Promise.resolve()
  assert.deepEqual([log, caches.isLeaving], [['write'], true])
  caches.take(dataOf('kept'))
  await caches.left()
  assert.deepEqual(log.slice(0, 4), ['write', 'disarm', 'put', 'leave'])
  assert.deepEqual([caches.isLeaving, caches.leaves, wordsOf(copy)], [false, 1, 'kept'])
  mapped.release()
})

test('a copy that others use goes on when an owner ends, and is kept when they have released it', async () => {
  const { log, caches } = setUp()
  const copy = wanted(caches, 1n, 2n)
  const mapped = copy.file.descriptor.retain()
  caches.take(dataOf('kept'))
  caches.release(1n, true)
  assert.deepEqual([log, caches.isLeaving], [['write'], false])
  caches.release(2n, false)
  await caches.left()
  assert.deepEqual([log.slice(0, 4), wordsOf(copy)], [['write', 'disarm', 'put', 'leave'], 'kept'])
  mapped.release()
})

test('a copy that nobody keeps is taken out of memory when it is given up', async () => {
  const { log, caches } = setUp()
  const copy = wanted(caches, 1n)
  const mapped = copy.file.descriptor.retain()
  caches.take(dataOf('gone'))
  caches.release(1n, false)
  assert.deepEqual([log, wordsOf(copy)], [['write', 'put', 'leave', 'disarm'], '\0\0\0\0'])
  mapped.release()
})
