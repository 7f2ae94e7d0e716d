import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Home } from '../../src/coherence/home.js'
import { newHome, pageCount } from './new-home.js'

/** The nodes 1 and 2 share the pages 0 to 3; node 3 is the writer of 4 to 7. */
function newBusyHome() {
  const { home, said } = newHome()
  home.read(1, 0, 4, 0)
  home.read(2, 0, 4, 0)
  home.write(3, 4, 4, 0)
  said()
  return { home, said }
}

test('a read of 256 pages that are at home is answered with one message', () => {
  const { home, said } = newHome()
  home.read(1, 100, 256, 0)
  assert.deepEqual(said(), ['protect 100+256', 'data 100+256 to 1 shared'])
  assert.deepEqual([home.state(100), home.nodesWith(355), home.state(356)], ['shared', [1], 'home'])
})

test('pages are given for writing when they are protected and kept aside, and leave home last', () => {
  const { home, said } = newHome()
  home.write(1, 8, 4, 0)
  assert.deepEqual(said(), ['protect 8+4', 'aside 8+4', 'data 8+4 to 1 exclusive', 'take 8+4'])
  assert.deepEqual(home.nodesWith(8), [1])
})

test('a request of pages in different states is served in as few messages as there are kinds', () => {
  const { home, said } = newBusyHome()
  home.read(4, 0, 12, 0)
  assert.deepEqual(said(), ['protect 8+4', 'data 0+4 to 4 shared', 'data 8+4 to 4 shared', 'recall 4+4 to 3 shared'])
  home.returned(3, 4, 4, 'content', 0)
  assert.deepEqual(said(), ['install 4+4 0 protected', 'data 4+4 to 4 shared'])
  assert.deepEqual(home.nodesWith(4), [3, 4])
})

test('a sharer that asks to write is granted it when all others have dropped the pages', () => {
  const { home, said } = newBusyHome()
  home.read(3, 0, 4, 0)
  said()
  home.write(2, 0, 4, 0)
  assert.deepEqual(said(), ['invalidate 0+4 to 1', 'invalidate 0+4 to 3'])
  home.invalidated(3, 0, 4, 0)
  assert.deepEqual(said(), [])
  home.invalidated(1, 0, 2, 0)
  assert.deepEqual(said(), ['aside 0+2', 'grant 0+2 to 2', 'take 0+2'])
  home.invalidated(1, 2, 2, 0)
  assert.deepEqual(said(), ['aside 2+2', 'grant 2+2 to 2', 'take 2+2'])
})

test('an upgrade that lost the page meanwhile is answered with the content', () => {
  const { home, said } = newBusyHome()
  home.write(1, 0, 1, 0)
  home.write(2, 0, 1, 0)
  assert.deepEqual(said(), ['invalidate 0+1 to 2'])
  home.invalidated(2, 0, 1, 0)
  assert.deepEqual(said(), ['aside 0+1', 'grant 0+1 to 1', 'take 0+1', 'recall 0+1 to 1 absent'])
  home.returned(1, 0, 1, 'content', 0)
  assert.deepEqual(said(), ['install 0+1 0 protected', 'aside 0+1', 'data 0+1 to 2 exclusive', 'take 0+1'])
})

test("a store of home's thread to a shared page waits until nobody has it", () => {
  const { home, said } = newBusyHome()
  home.fault(1, 'write', 0)
  assert.deepEqual(said(), ['invalidate 1+1 to 1', 'invalidate 1+1 to 2'])
  home.invalidated(1, 1, 1, 0)
  home.fault(1, 'write', 0)
  assert.deepEqual(said(), [])
  home.invalidated(2, 1, 1, 0)
  assert.deepEqual(said(), ['unprotect 1+1'])
  assert.equal(home.state(1), 'home')
})

test("home's threads get a far page back for reading, or for writing", () => {
  const { home, said } = newBusyHome()
  home.fault(4, 'read', 0)
  home.fault(5, 'write', 0)
  assert.deepEqual(said(), ['recall 4+1 to 3 shared', 'recall 5+1 to 3 absent'])
  home.returned(3, 4, 2, 'content', 0)
  assert.deepEqual(said(), ['install 5+1 1 writable', 'install 4+1 0 protected', 'wake 4+2'])
  assert.deepEqual([home.nodesWith(4), home.state(5)], [[3], 'home'])
})

test('a fault that comes late is answered at once', () => {
  const { home, said } = newBusyHome()
  home.fault(20, 'read', 0)
  home.fault(20, 'write', 0)
  home.fault(0, 'read', 0)
  assert.deepEqual(said(), ['wake 20+1', 'unprotect 20+1', 'wake 0+1'])
})

test('home goes on reading a shared page while others are asked to give it up', () => {
  const { home, said } = newBusyHome()
  home.write(3, 0, 1, 0)
  said()
  home.fault(0, 'read', 0)
  assert.deepEqual(said(), ['wake 0+1'])
})

test("a store of home's thread need not be told again when a load was served before it", () => {
  const { home, said } = newBusyHome()
  home.fault(4, 'read', 0)
  home.fault(4, 'write', 0)
  home.returned(3, 4, 1, 'content', 0)
  assert.equal(said().at(-1), 'invalidate 4+1 to 3')
})

test('requests for one page are served in the order in which they came', () => {
  const { home, said } = newBusyHome()
  home.write(1, 4, 1, 0)
  home.fault(4, 'read', 0)
  home.read(2, 4, 1, 0)
  assert.deepEqual(said(), ['recall 4+1 to 3 absent'])
  home.returned(3, 4, 1, 'content', 0)
  assert.deepEqual(said().slice(2), ['data 4+1 to 1 exclusive', 'take 4+1', 'recall 4+1 to 1 shared'])
  home.returned(1, 4, 1, 'content', 0)
  assert.deepEqual(said(), ['install 4+1 0 protected', 'wake 4+1', 'data 4+1 to 2 shared'])
})

test("a page that home's thread just got is not taken from it before its time is over", () => {
  const { home, said } = newBusyHome()
  home.fault(4, 'write', 10)
  home.returned(3, 4, 1, 'content', 10)
  said()
  home.read(1, 4, 1, 11)
  home.write(2, 4, 1, 11)
  assert.deepEqual(said(), ['delay 4+1 12'])
  home.elapsed(4, 1, 11.5)
  assert.deepEqual(said(), ['delay 4+1 12'])
  home.elapsed(4, 1, 12)
  assert.deepEqual(said(), ['protect 4+1', 'data 4+1 to 1 shared', 'invalidate 4+1 to 1'])
  home.elapsed(4, 1, 13)
  assert.deepEqual(said(), [])
})

test("home's own threads do not wait for its window", () => {
  const { home, said } = newBusyHome()
  home.fault(4, 'read', 10)
  home.returned(3, 4, 1, 'content', 10)
  said()
  home.fault(4, 'write', 10)
  assert.deepEqual(said(), ['invalidate 4+1 to 3'])
})

test("a page that home's thread waits to write comes back writable, whoever waits behind it", () => {
  const { home, said } = newBusyHome()
  home.fault(4, 'write', 10)
  home.read(1, 4, 1, 10)
  said()
  home.returned(3, 4, 1, 'content', 10)
  assert.deepEqual(said(), ['install 4+1 0 writable', 'wake 4+1', 'delay 4+1 12'])
})

test('the end of a window is asked for once, though a request that waited for it is gone', () => {
  const { home, said } = newBusyHome()
  home.fault(4, 'write', 10)
  home.returned(3, 4, 1, 'content', 10)
  home.read(1, 4, 1, 10)
  home.write(3, 4, 1, 10)
  said()
  home.gone(1, 11)
  assert(!said().some((line) => line.startsWith('delay')))
  home.elapsed(4, 1, 12)
  assert.deepEqual(said().at(-1), 'take 4+1')
})

test('pages that were taken from all for a node that is gone are home again', () => {
  const { home, said } = newBusyHome()
  home.write(3, 0, 1, 0)
  home.gone(3, 0)
  home.invalidated(1, 0, 1, 0)
  said()
  home.invalidated(2, 0, 1, 0)
  assert.deepEqual(said(), ['unprotect 0+1'])
  assert.equal(home.state(0), 'home')
})

test('a page that is put while it is recalled is home again, and the recall goes on', () => {
  const { home, said } = newBusyHome()
  home.write(1, 4, 1, 0)
  said()
  home.put(3, 4, 2, 'evict')
  assert.deepEqual(said(), ['install 5+1 1 writable', 'install 4+1 0 protected'])
  home.read(3, 4, 1, 0)
  home.returned(3, 4, 1, 'already', 0)
  const given = ['aside 4+1', 'data 4+1 to 1 exclusive', 'take 4+1', 'recall 4+1 to 1 shared']
  assert.deepEqual(said(), given)
})

test('a flush replaces what is aside and leaves the writer the writer', () => {
  const { home, said } = newBusyHome()
  home.put(3, 5, 2, 'flush')
  assert.deepEqual(said(), ['updateAside 5+2 0'])
  assert.deepEqual(home.nodesWith(5), [3])
})

test('pages that all sharers have dropped are home again', () => {
  const { home, said } = newBusyHome()
  home.dropped(1, 0, 3)
  assert.deepEqual(said(), [])
  home.dropped(2, 0, 4)
  assert.deepEqual(said(), ['unprotect 0+3'])
  assert.deepEqual([home.state(0), home.nodesWith(3)], ['home', [1]])
})

test('a node that is lost gives back what was aside, and what waited for it goes on', () => {
  const { home, said } = newBusyHome()
  home.write(3, 0, 1, 0)
  home.write(1, 4, 1, 0)
  home.fault(5, 'write', 0)
  home.fault(6, 'read', 0)
  said()
  home.gone(3, 0)
  assert.deepEqual(said(), [
    'restore 5+3 writable',
    'restore 4+1 protected',
    'aside 4+1',
    'data 4+1 to 1 exclusive',
    'take 4+1',
    'wake 5+2',
  ])
})

test('when the last node has left, every page is home and no state is kept', () => {
  const { home, said } = newBusyHome()
  assert(!home.isIdle && home.stateBytes > 0)
  for (const node of [3, 2, 1, 4]) home.gone(node, 0)
  assert.deepEqual(said(), ['restore 4+4 writable', 'unprotect 0+4'])
  assert(home.isIdle)
  assert.equal(home.stateBytes, 0)
})

test('a mapping that is added learns which pages are protected', () => {
  const { home } = newBusyHome()
  home.read(1, 70_000, 1, 0)
  const runs: number[][] = []
  home.forEachProtected((first, count) => runs.push([first, count]))
  assert.deepEqual(runs, [
    [0, 4],
    [70_000, 1],
  ])
})

test('the home keeps 4 bytes a page, of the pages that were ever asked for', () => {
  const { home } = newHome()
  home.read(1, 0, 256, 0)
  assert.equal(home.stateBytes, 4 * 65_536)
  home.read(1, 99_999, 1, 0)
  assert.equal(home.stateBytes, 4 * pageCount)
})

interface Refused {
  readonly what: string
  /** What happens before. */
  readonly before?: (home: Home) => void
  readonly event: (home: Home) => void
}

const refused: readonly Refused[] = [
  { what: 'a request of a node that has not joined', event: (home) => home.read(9, 0, 1, 0) },
  {
    what: 'a word of a node that is gone',
    before: (home) => home.gone(3, 0),
    event: (home) => home.read(3, 20, 1, 0),
  },
  { what: 'a range that begins before the file', event: (home) => home.read(3, -1, 1, 0) },
  { what: 'a range that ends behind the file', event: (home) => home.read(1, pageCount - 1, 2, 0) },
  { what: 'a range of no pages', event: (home) => home.write(1, 8, 0, 0) },
  { what: 'a range in fractions', event: (home) => home.read(3, 20.5, 1, 0) },
  {
    what: 'a read of pages of which the node shares the last',
    event: (home) => home.read(4, 8, 2, 0),
    before: (home) => home.read(4, 9, 1, 0),
  },
  { what: 'a read of the writer', event: (home) => home.read(3, 4, 1, 0) },
  { what: 'a write of pages of which the node is the writer of the last', event: (home) => home.write(3, 3, 2, 0) },
  { what: 'a write of a node that may only read', event: (home) => home.write(4, 8, 1, 0) },
  {
    what: 'a second request for a page',
    before: (home) => home.write(1, 4, 1, 0),
    event: (home) => home.read(1, 4, 1, 0),
  },
  { what: 'a page invalidated that it did not ask for', event: (home) => home.invalidated(1, 0, 1, 0) },
  {
    what: 'a page invalidated twice',
    before: (home) => {
      home.fault(0, 'write', 0)
      home.invalidated(1, 0, 1, 0)
    },
    event: (home) => home.invalidated(1, 0, 1, 0),
  },
  { what: 'a page returned that it did not ask for', event: (home) => home.returned(3, 4, 1, 'content', 0) },
  {
    what: 'a page returned by another node',
    before: (home) => home.fault(4, 'read', 0),
    event: (home) => home.returned(1, 4, 1, 'content', 0),
  },
  {
    what: "'already' of another node",
    before: (home) => home.fault(4, 'read', 0),
    event: (home) => home.returned(1, 4, 1, 'already', 0),
  },
  {
    what: 'more pages returned than it asked for',
    before: (home) => home.fault(4, 'read', 0),
    event: (home) => home.returned(3, 4, 2, 'content', 0),
  },
  {
    what: "'already' without a put",
    before: (home) => home.fault(4, 'read', 0),
    event: (home) => home.returned(3, 4, 1, 'already', 0),
  },
  {
    what: 'content that comes again after a put',
    before: (home) => {
      home.fault(4, 'read', 0)
      home.put(3, 4, 1, 'evict')
    },
    event: (home) => home.returned(3, 4, 1, 'content', 0),
  },
  { what: 'a put of a page that is shared', event: (home) => home.put(1, 0, 1, 'evict') },
  { what: "a put of another node's page", event: (home) => home.put(1, 4, 1, 'flush') },
  { what: 'a page dropped by a node that does not share it', event: (home) => home.dropped(3, 0, 1) },
  {
    what: 'a page dropped by a node that waits to write it',
    before: (home) => home.write(1, 0, 1, 0),
    event: (home) => home.dropped(1, 0, 1),
  },
]

for (const { what, before, event } of refused) {
  test(`home refuses ${what}, and changes nothing`, () => {
    const { home, said } = newBusyHome()
    before?.(home)
    said()
    const unchanged = home.snapshot()
    assert.throws(() => event(home), { code: 'EPROTO' })
    assert.deepEqual(said(), [])
    assert.deepEqual(home.snapshot(), unchanged)
  })
}

test('a node number is a positive integer, and joins once', () => {
  const { home } = newHome()
  for (const node of [0, -1, 1.5, 2 ** 26]) assert.throws(() => home.join(node, 'write'), { code: 'EINVAL' })
  assert.throws(() => home.join(1, 'write'), { code: 'EEXIST' })
  home.join(2 ** 26 - 1, 'write')
  home.write(2 ** 26 - 1, 0, 1, 0)
  assert.deepEqual(home.nodesWith(0), [2 ** 26 - 1])
})
