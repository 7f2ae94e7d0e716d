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
  returned(): void {}
  invalidated(): void {}
  put(): void {}
  dropped(): void {}
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
