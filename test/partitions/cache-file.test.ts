/** What a copy of a far file asks its home for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { kernel } from '../../src/kernel/index.js'
import { Budget } from '../../src/pager/budget.js'
import { CacheFile, type FarHome } from '../../src/pager/cache-file.js'

/** Writes down what it is asked. */
class Home implements FarHome {
  readonly asked: string[] = []
  request = (access: string, first: number, count: number) => this.asked.push(`${access} ${first}+${count}`)
  readonly told: string[] = []
  returned = (first: number, count: number) => this.told.push(`returned ${first}+${count}`)
  invalidated = (first: number, count: number) => this.told.push(`invalidated ${first}+${count}`)
  put = (first: number, count: number) => this.told.push(`put ${first}+${count}`)
  dropped = (first: number, count: number) => this.told.push(`dropped ${first}+${count}`)
  sync = () => Promise.resolve()
  silent(): void {}
}

function cacheOf(home: Home, access: 'read' | 'write'): CacheFile {
  const length = 16 * kernel.pageSize
  return new CacheFile(home, { length, access, holdMs: 0, flushMs: 100, budget: new Budget(length) })
}

test('a copy asks for nothing but what is attached, however much is read in a row', () => {
  const home = new Home()
  const cache = cacheOf(home, 'write')
  cache.attached({ first: 2, count: 3 })
  cache.attached({ first: 5, count: 2 })
  cache.attached({ first: 9, count: 1 })
  for (const page of [2, 3, 5, 7, 8, 9, 10, 1]) cache.fault(page, 'read', true)
  assert.deepEqual(home.asked, ['read 2+1', 'read 3+2', 'read 5+2', 'read 9+1'])
  cache.close()
})

test('a copy that is given back asks for nothing any more', async () => {
  const home = new Home()
  const cache = cacheOf(home, 'write')
  cache.attached({ first: 0, count: 16 })
  cache.fault(0, 'read', true)
  cache.giveBack()
  cache.fault(9, 'write', true)
  await cache.prefetch(3, 2, 'read')
  assert.deepEqual(home.asked, ['read 0+1'])
  cache.close()
})

test('a copy for those who may only read asks for nothing else', () => {
  const home = new Home()
  const cache = cacheOf(home, 'read')
  cache.attached({ first: 0, count: 16 })
  cache.fault(0, 'write', true)
  cache.fault(8, 'write', false)
  cache.prefetch(3, 2, 'write').catch(() => {})
  assert.deepEqual(home.asked, ['read 0+1', 'read 3+2'])
  cache.close()
})

test('a copy that is kept has its content whatever home is told, and asks for nothing any more', async () => {
  const home = new Home()
  const cache = cacheOf(home, 'write')
  cache.attached({ first: 0, count: 16 })
  cache.prefetch(0, 2, 'write').catch(() => {})
  cache.prefetch(2, 2, 'read').catch(() => {})
  cache.fault(4, 'write', true)
  cache.keep()
  cache.fault(5, 'write', true)
  const words = 'what is kept'
  const answered = cache.answered()
  for (const [first, count, share] of [
    [0, 2, 'exclusive'],
    [2, 2, 'shared'],
    [4, 1, 'exclusive'],
  ] as const)
    cache.taken(first, count, share, Buffer.from(words.padEnd(count * kernel.pageSize, '.')))
  await answered
  cache.recall(0, 1, 'absent')
  cache.invalidate(2, 1)
  cache.giveBack()
  assert.deepEqual(home.asked, ['write 0+2', 'read 2+2', 'write 4+1'])
  assert.deepEqual(home.told, ['returned 0+1', 'invalidated 2+1', 'put 1+1', 'put 4+1', 'dropped 3+1'])
  const bytes = Buffer.alloc(5 * kernel.pageSize)
  cache.file.read(0, 5, bytes, 0)
  for (const page of [0, 2, 4])
    assert.equal(bytes.toString('latin1', page * kernel.pageSize).slice(0, words.length), words)
  cache.close()
})
