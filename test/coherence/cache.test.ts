import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Cache } from '../../src/coherence/cache.js'
import { state } from '../../src/coherence/cache-pages.js'
import { Random } from '../unit/random.js'
import { Recorder } from './recorder.js'

const pageCount = 100_000
const holdMs = 2

function newCache() {
  const recorder = new Recorder()
  const cache = new Cache({ pageCount, holdMs }, recorder.cache)
  return { cache, said: () => recorder.take() }
}

/** A cache that shares the pages 0 to 3 and may write 4 to 7, which came at 0. */
function newFullCache() {
  const { cache, said } = newCache()
  cache.prefetch(0, 4, 'read')
  cache.prefetch(4, 4, 'write')
  cache.data(0, 4, 'shared', 0)
  cache.data(4, 4, 'exclusive', 0)
  said()
  return { cache, said }
}

test('a fault asks for the page and those behind it, and content that comes wakes who waits', () => {
  const { cache, said } = newCache()
  cache.fault(10, 'read', 3)
  cache.fault(11, 'read', 9)
  assert.deepEqual(said(), ['ask to read 10+4'])
  cache.data(10, 4, 'shared', 0)
  assert.deepEqual(said(), ['install 10+4 0 protected'])
  assert.deepEqual(cache.counters, { faults: 2, pagesIn: 4, pagesOut: 0 })
})

test('what is asked for ahead ends at the first page in another state, and at the end of the file', () => {
  const { cache, said } = newFullCache()
  cache.fault(2, 'write', 9)
  cache.fault(pageCount - 2, 'write', 9)
  assert.deepEqual(said(), ['ask to write 2+2', `ask to write ${pageCount - 2}+2`])
})

test('a prefetch asks for what is not there', () => {
  const { cache, said } = newFullCache()
  cache.fault(8, 'read', 0)
  cache.prefetch(0, 12, 'read')
  assert.deepEqual(said(), ['ask to read 8+1', 'ask to read 9+3'])
  cache.prefetch(0, 14, 'write')
  assert.deepEqual(said(), ['ask to write 0+4', 'ask to write 12+2'])
})

test('a page that is granted may be written without its content coming again', () => {
  const { cache, said } = newFullCache()
  cache.fault(1, 'write', 0)
  cache.grant(1, 1, 0)
  assert.deepEqual(said(), ['ask to write 1+1', 'unprotect 1+1'])
})

test('a fault that comes late is answered at once', () => {
  const { cache, said } = newFullCache()
  cache.fault(0, 'read', 0)
  cache.fault(4, 'read', 0)
  cache.fault(5, 'write', 0)
  assert.deepEqual(said(), ['wake 0+1', 'wake 4+1', 'unprotect 5+1'])
})

test('an invalidate drops the page before it is answered', () => {
  const { cache, said } = newFullCache()
  cache.invalidate(0, 4, holdMs)
  assert.deepEqual(said(), ['drop 0+4', 'invalidated 0+4'])
  cache.invalidate(0, 1, holdMs)
  assert.deepEqual(said(), ['invalidated 0+1'])
})

test('an upgrade that meets an invalidate becomes a request of the whole page', () => {
  const { cache, said } = newFullCache()
  cache.fault(0, 'write', 0)
  cache.invalidate(0, 1, holdMs)
  assert.deepEqual(said(), ['ask to write 0+1', 'drop 0+1', 'invalidated 0+1'])
  cache.data(0, 1, 'exclusive', holdMs)
  assert.deepEqual(said(), ['install 0+1 0 writable'])
})

test('a recall takes the right to write, or the page, when stores are stopped', () => {
  const { cache, said } = newFullCache()
  cache.recall(4, 2, 'shared', holdMs)
  assert.deepEqual(said(), ['protect 4+2', 'returned 4+2 content'])
  cache.recall(6, 2, 'absent', holdMs)
  assert.deepEqual(said(), ['protect 6+2', 'returned 6+2 content', 'drop 6+2'])
  assert.deepEqual([cache.state(4), cache.state(6)], [state.shared, state.absent])
  assert.equal(cache.counters.pagesOut, 4)
})

test('a recall that meets a put is answered so, whatever was asked for since', () => {
  const { cache, said } = newFullCache()
  cache.evict(8, holdMs)
  cache.fault(5, 'read', 0)
  cache.fault(6, 'write', 0)
  said()
  cache.recall(4, 3, 'absent', holdMs)
  assert.deepEqual(said(), ['returned 4+3 already'])
  assert.deepEqual([cache.state(5), cache.state(6)], [state.reading, state.writing])
})

test('a page that just came is kept until its time is over, and then what home wanted is done', () => {
  const { cache, said } = newFullCache()
  cache.invalidate(0, 2, 1)
  cache.recall(4, 4, 'shared', 1)
  assert.deepEqual(said(), ['delay 0+2 2', 'delay 4+4 2'])
  cache.elapsed(0, 2, 1.5)
  assert.deepEqual(said(), ['delay 0+2 2'])
  cache.elapsed(0, 2, 2)
  cache.elapsed(4, 4, 2)
  assert.deepEqual(said(), ['drop 0+2', 'invalidated 0+2', 'protect 4+4', 'returned 4+4 content'])
  cache.elapsed(0, 8, 3)
  assert.deepEqual(said(), [])
})

test('each page is kept until its own time is over, and longer if it comes again', () => {
  const { cache, said } = newFullCache()
  cache.fault(1, 'write', 0)
  cache.grant(1, 1, 1)
  cache.prefetch(8, 1, 'write')
  cache.data(8, 1, 'exclusive', 1)
  said()
  cache.recall(1, 1, 'absent', 2)
  cache.recall(4, 5, 'absent', 1.5)
  assert.deepEqual(said(), ['delay 1+1 3', 'delay 4+4 2', 'delay 8+1 3'])
})

test('a flush sends what is dirty and stays the writer; the next store needs no message', () => {
  const { cache, said } = newFullCache()
  assert.equal(cache.flush(0, 6), 2)
  assert.deepEqual(said(), ['protect 4+2', 'put 4+2 flush'])
  assert.equal(cache.flush(0, 6), 0)
  cache.fault(5, 'write', 0)
  assert.deepEqual(said(), ['unprotect 5+1'])
  assert.equal(cache.flush(0, pageCount), 3)
  assert.deepEqual(said(), ['protect 5+3', 'put 5+3 flush'])
})

test('a page that was flushed is not protected again when it is recalled or evicted, and not sent again when it is recalled', () => {
  const { cache, said } = newFullCache()
  cache.flush(4, 4)
  said()
  cache.recall(4, 1, 'shared', holdMs)
  assert.deepEqual(said(), ['returned 4+1 unchanged'])
  cache.evict(8, holdMs)
  assert.deepEqual(said(), ['put 5+3 evict', 'drop 0+8', 'dropped 0+5'])
})

test('an eviction drops what was asked for longest ago', () => {
  const { cache, said } = newCache()
  for (const page of [30, 10, 20, 40]) {
    cache.fault(page, 'read', 1)
    cache.data(page, 2, 'shared', 0)
  }
  cache.fault(30, 'read', 0)
  said()
  assert.equal(cache.evict(3, holdMs), 3)
  assert.deepEqual(said(), ['drop 10+2', 'drop 31+1', 'dropped 10+2', 'dropped 31+1'])
  assert.equal(cache.evict(1, holdMs), 1)
  assert.deepEqual(said(), ['drop 20+1', 'dropped 20+1'])
  assert.equal(cache.evict(100, holdMs), 4)
  assert.deepEqual(said(), ['drop 21+1', 'drop 30+1', 'drop 40+2', 'dropped 21+1', 'dropped 30+1', 'dropped 40+2'])
  assert.equal(cache.evict(1, holdMs), 0)
})

test('an eviction leaves pages that just came, that are asked for, and that home waits for', () => {
  const { cache, said } = newFullCache()
  assert.equal(cache.evict(8, 1), 0)
  cache.fault(0, 'write', 0)
  cache.fault(9, 'read', 0)
  cache.recall(4, 1, 'absent', 1)
  said()
  assert.equal(cache.evict(8, holdMs), 6)
  assert.deepEqual(said(), ['protect 5+3', 'put 5+3 evict', 'drop 1+3', 'drop 5+3', 'dropped 1+3'])
  cache.elapsed(4, 1, holdMs)
  assert.deepEqual(said(), ['protect 4+1', 'returned 4+1 content', 'drop 4+1'])
})

test('evictions follow the order of faults, however long ago these were', () => {
  const { cache, said } = newCache()
  const random = new Random(3)
  const inOrder: number[] = []
  for (let page = 1; page <= 500; page += 1) {
    const scattered = (page * 7919) % 99_991
    cache.fault(scattered, 'read', 0)
    cache.data(scattered, 1, 'shared', 0)
    inOrder.push(scattered)
    for (let faults = random.below(2) * random.below(600); faults > 0; faults -= 1) cache.fault(scattered, 'read', 0)
  }
  while (inOrder.length > 0) {
    said()
    const count = 1 + random.below(60)
    cache.evict(count, holdMs)
    const gone = said().flatMap((line) => /^drop (\d+)\+1$/.exec(line)?.[1] ?? [])
    const due = inOrder.splice(0, count).sort((a, b) => a - b)
    assert.deepEqual(gone.map(Number), due)
  }
})

test('when home is lost every thread that waits is woken', () => {
  const { cache, said } = newFullCache()
  cache.fault(0, 'write', 0)
  cache.fault(9, 'read', 1)
  cache.fault(20, 'write', 0)
  cache.recall(4, 1, 'absent', 1)
  said()
  cache.ended()
  assert.deepEqual(said(), ['wake 0+1', 'wake 9+2', 'wake 20+1'])
  cache.elapsed(4, 1, 5)
  assert.deepEqual(said(), [])
  assert.equal(cache.stateBytes, 0)
})

test('a mapping that is added learns which pages are protected', () => {
  const { cache } = newFullCache()
  cache.fault(3, 'write', 0)
  cache.flush(6, 1)
  const runs: number[][] = []
  cache.forEachProtected((first, count) => runs.push([first, count]))
  assert.deepEqual(runs, [
    [0, 4],
    [6, 1],
  ])
})

test('a cache keeps 5 bytes a page, of the pages that were ever asked for', () => {
  const { cache } = newCache()
  cache.fault(0, 'read', 255)
  assert.equal(cache.stateBytes, 5 * 65_536)
  cache.fault(pageCount - 1, 'read', 0)
  assert.equal(cache.stateBytes, 5 * pageCount)
})

test('a page that was asked for to read and comes for writing is stored to without a message', () => {
  const { cache, said } = newFullCache()
  cache.prefetch(20, 2, 'read')
  cache.data(20, 1, 'exclusive', 0)
  cache.data(21, 1, 'clean', 0)
  assert.deepEqual(said(), ['ask to read 20+2', 'install 20+1 0 writable', 'install 21+1 0 protected'])
  cache.fault(21, 'write', 0)
  assert.deepEqual(said(), ['unprotect 21+1'])
  cache.recall(20, 2, 'absent', holdMs)
  assert.deepEqual(said(), ['protect 20+2', 'returned 20+2 content', 'drop 20+2'])
})

test('a page that came for writing and was not stored to goes back without its content', () => {
  const { cache, said } = newFullCache()
  cache.fault(20, 'read', 0)
  cache.data(20, 1, 'clean', 0)
  said()
  cache.recall(20, 1, 'absent', holdMs)
  assert.deepEqual(said(), ['returned 20+1 unchanged', 'drop 20+1'])
  assert.equal(cache.counters.pagesOut, 0)
})

interface Refused {
  readonly what: string
  /** What happens before. */
  readonly before?: (cache: Cache) => void
  readonly event: (cache: Cache) => void
}

const refused: readonly Refused[] = [
  { what: 'content that was not asked for', event: (cache) => cache.data(20, 1, 'shared', 0) },
  {
    what: 'more content than was asked for',
    before: (cache) => cache.fault(20, 'read', 0),
    event: (cache) => cache.data(20, 2, 'shared', 0),
  },
  {
    what: 'content that home has the same of, asked for to write',
    before: (cache) => cache.fault(20, 'write', 0),
    event: (cache) => cache.data(20, 1, 'clean', 0),
  },
  {
    what: 'content to read that was asked for to write',
    before: (cache) => cache.fault(20, 'write', 0),
    event: (cache) => cache.data(20, 1, 'shared', 0),
  },
  {
    what: 'the content of a page that it waits to be granted',
    before: (cache) => cache.fault(0, 'write', 0),
    event: (cache) => cache.data(0, 1, 'exclusive', 0),
  },
  { what: 'a grant that was not asked for', event: (cache) => cache.grant(0, 1, 0) },
  {
    what: 'a grant of a page that it does not have',
    before: (cache) => cache.fault(20, 'write', 0),
    event: (cache) => cache.grant(20, 1, 0),
  },
  { what: 'an invalidate of a page that only it has', event: (cache) => cache.invalidate(3, 2, holdMs) },
  { what: 'a recall of a page that others read', event: (cache) => cache.recall(3, 2, 'absent', holdMs) },
  {
    what: 'a recall of a page that it waits to be granted',
    before: (cache) => cache.fault(0, 'write', 0),
    event: (cache) => cache.recall(0, 1, 'absent', holdMs),
  },
  {
    what: 'a second recall before the first is answered',
    before: (cache) => cache.recall(4, 1, 'shared', 0),
    event: (cache) => cache.recall(4, 1, 'absent', 0),
  },
  { what: 'a range behind the file', event: (cache) => cache.invalidate(pageCount, 1, 0) },
  { what: 'a range of less than nothing', event: (cache) => cache.recall(5, -1, 'absent', 0) },
  { what: 'a range that is no number', event: (cache) => cache.data(Number.NaN, 1, 'shared', 0) },
]

for (const { what, before, event } of refused) {
  test(`a cache refuses ${what}, and changes nothing`, () => {
    const { cache, said } = newFullCache()
    before?.(cache)
    said()
    const unchanged = cache.snapshot()
    assert.throws(() => event(cache), { code: 'EPROTO' })
    assert.deepEqual(said(), [])
    assert.deepEqual(cache.snapshot(), unchanged)
  })
}
