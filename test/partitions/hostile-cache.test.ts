/** A partition that breaks the protocol of pages as their cache. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { residentBytes } from '../hostile/scene.js'
import { partitionOf, type Side, untilPartition } from '../xpc/pair.js'
import { frameOf } from '../xpc/raw-peer.js'
import { EvilCache, filled } from './evil.js'
import { another, attach, load, page, type Shared, share, startWorld, store, told } from './world.js'

interface Scene {
  readonly home: Side
  readonly far: Side
  readonly shared: Shared
  readonly attachment: number
  readonly since: string
}

/** Pages that those who behave use. */
const pages = 8

/** The first of some more, which nobody else uses. */
const quiet = pages

/** A home, a far partition that uses the same memory, and room for an evil one. */
async function startScene(t: TestContext): Promise<Scene> {
  const [home, far] = (await startWorld(t, 2, { strangers: ['evil'] })) as [Side, Side]
  const shared = await share(home.actor, 2 * pages)
  const { attachment } = await attach(far.actor, shared.segid)
  const { since } = await partitionOf(home.actor, 'far')
  return { home, far, shared, attachment, since }
}

/** Home and the partition that behaves go on with every page. */
async function check({ home, far, shared, attachment, since }: Scene): Promise<void> {
  for (let index = 0; index < pages; index += 1) {
    await store(home.actor, shared.memory, index * page + 50, `home ${index}`)
    assert.equal(await load(far.actor, attachment, index * page + 50, 6), `home ${index}`)
    await store(far.actor, attachment, index * page + 50, `far  ${index}`)
    assert.equal(await load(home.actor, shared.memory, index * page + 50, 6), `far  ${index}`)
  }
  const { state, since: now } = await partitionOf(home.actor, 'far')
  assert.deepEqual([state, now], ['active', since])
}

test('a cache that breaks the protocol is cut off, says the home why, and everybody else goes on', async (t) => {
  const scene = await startScene(t)
  const breaches: Record<string, { say: (evil: EvilCache) => unknown; refusal: RegExp }> = {
    'reads a page outside of what it has attached': {
      say: (evil) => evil.peer.send('read', 0, evil.pages(4)),
      refusal: /not of what is attached/,
    },
    'writes pages that begin in what it has attached': {
      say: (evil) => evil.peer.send('write', 0, evil.pages(3, 2)),
      refusal: /not of what is attached/,
    },
    'reads more pages than there are': {
      say: (evil) => evil.peer.send('read', 0, evil.pages(0, 256)),
      refusal: /not of what is attached/,
    },
    'reads more pages than a message carries': {
      say: (evil) => evil.peer.send('read', 0, evil.pages(0, 257)),
      refusal: /no message asks for 257 pages/,
    },
    'reads no page': { say: (evil) => evil.peer.send('read', 0, evil.pages(0, 0)), refusal: /page/ },
    'reads with a cache that has nothing': {
      say: (evil) => evil.peer.send('read', 0, { ...evil.pages(0), cache: 5 }),
      refusal: /nothing attached of that file/,
    },
    'reads of a file that it was not told of': {
      say: (evil) => evil.peer.send('read', 0, { ...evil.pages(0), file: evil.file + 1 }),
      refusal: /nothing attached of that file/,
    },
    'reads after it has left': {
      say: (evil) => {
        evil.peer.send('leave', 0, { file: evil.file, cache: 0 })
        evil.peer.send('read', 0, evil.pages(0))
      },
      refusal: /nothing attached of that file/,
    },
    'asks twice': {
      say: async (evil) => {
        await evil.attach(quiet, 1)
        await evil.share(quiet)
        evil.peer.send('read', 0, evil.pages(quiet))
      },
      refusal: /has page 8 already/,
    },
    'asks to write what it writes': {
      say: async (evil) => {
        await evil.own(1)
        evil.peer.send('write', 0, evil.pages(1))
      },
      refusal: /is the writer of page 1/,
    },
    'puts a page that it only reads': {
      say: async (evil) => {
        await evil.attach(quiet, 1)
        await evil.share(quiet)
        evil.put(quiet, filled(66))
      },
      refusal: /not the writer of page 8/,
    },
    'puts a page that it never had': { say: (evil) => evil.put(7, filled(66)), refusal: /not the writer of page 7/ },
    'puts pages past the end of the file': {
      say: (evil) => evil.put(100_000, filled(66)),
      refusal: /page|file/,
    },
    'drops what it does not have': {
      say: (evil) => evil.peer.send('dropped', 0, evil.pages(0)),
      refusal: /does not share page 0/,
    },
    'says that it has dropped what nobody asked for': {
      say: (evil) => evil.peer.send('invalidated', 0, evil.pages(0)),
      refusal: /was not asked for page 0/,
    },
    'returns what nobody asked for': {
      say: async (evil) => {
        await evil.own(0)
        evil.give(0, filled(66))
      },
      refusal: /was not asked for page 0/,
    },
    'puts content of the wrong length': {
      say: async (evil) => {
        await evil.own(0)
        evil.put(0, filled(66, page - 1))
      },
      refusal: /the content is not of those pages/,
    },
    'puts the content of two pages for one': {
      say: async (evil) => {
        await evil.own(0)
        evil.put(0, filled(66, 2 * page))
      },
      refusal: /the content is not of those pages/,
    },
    'puts without content': {
      say: async (evil) => {
        await evil.own(0)
        evil.put(0, new Uint8Array(0))
      },
      refusal: /the content is not of those pages/,
    },
    'puts in a way that there is not': {
      say: async (evil) => {
        await evil.own(0)
        evil.peer.send('put', 0, { ...evil.pages(0, 1, 77), bytes: filled(66) })
      },
      refusal: /there is no way 77/,
    },
  }
  for (const [what, { say, refusal }] of Object.entries(breaches)) {
    await t.test(what, async (case_) => {
      const evil = await EvilCache.attached(case_, scene.home.address, scene.shared.segid, 4)
      await say(evil)
      assert.match(await evil.peer.refusal(), refusal)
      await check(scene)
    })
  }
  await untilPartition(scene.home.actor, 'evil', ({ state }) => state === 'inactive')
})

test('a cache that may only read is cut off when it asks to write', async (t) => {
  const scene = await startScene(t)
  const evil = await EvilCache.attached(t, scene.home.address, scene.shared.segid, pages, 'read')
  evil.peer.send('write', 0, evil.pages(0))
  assert.match(await evil.peer.refusal(), /may only read/)
  await check(scene)
})

/** What evil answers to a recall that one of home's threads waits for. */
const answers: Record<string, { say: (evil: EvilCache) => void; refusal: RegExp; read: string }> = {
  'answers twice': {
    say: (evil) => {
      evil.give(1, filled(66))
      evil.give(1, filled(67))
    },
    refusal: /was not asked for page 1/,
    read: 'BB',
  },
  'answers with content of the wrong length': {
    say: (evil) => evil.give(1, filled(66, 100)),
    refusal: /the content is not of those pages/,
    read: 'ab',
  },
  'answers that it has returned it already': {
    say: (evil) => evil.give(1, new Uint8Array(0), 'already'),
    refusal: /owes 'content' for page 1/,
    read: 'ab',
  },
  'answers for another page': {
    say: (evil) => evil.give(2, filled(66)),
    refusal: /was not asked for page 2/,
    read: 'ab',
  },
  'answers after it has put the page, with content': {
    say: (evil) => {
      evil.put(1, filled(66), 'evict')
      evil.give(1, filled(67))
    },
    refusal: /owes 'already' for page 1/,
    read: 'BB',
  },
}

test('a thread of home that waits for a page goes on when the cache that has it answers wrongly', async (t) => {
  const scene = await startScene(t)
  for (const [what, { say, refusal, read }] of Object.entries(answers)) {
    await t.test(what, async (case_) => {
      await store(scene.home.actor, scene.shared.memory, page, 'ab')
      const evil = await EvilCache.attached(case_, scene.home.address, scene.shared.segid, 4)
      await evil.own(1)
      const found = load(scene.home.actor, scene.shared.memory, page, 2)
      await evil.peer.take('recall')
      say(evil)
      assert.match(await evil.peer.refusal(), refusal)
      assert.equal(await found, read)
      await check(scene)
    })
  }
})

test('a cache that does not answer a recall, or an invalidate, is cut off, and who waits goes on', async (t) => {
  const scene = await startScene(t)
  await store(scene.home.actor, scene.shared.memory, 3 * page, 'before')
  const evil = await EvilCache.attached(t, scene.home.address, scene.shared.segid, 8)
  await evil.own(3)
  await evil.share(5)
  const reader = await another(t, scene.home)
  const local = await attach(reader, scene.shared.segid)
  const [found, , other] = await Promise.all([
    load(scene.home.actor, scene.shared.memory, 3 * page, 6),
    store(reader, local.attachment, 5 * page, 'stored'),
    load(scene.far.actor, scene.attachment, 3 * page, 6),
  ])
  assert.deepEqual([found, other], ['before', 'before'])
  assert.equal(await load(scene.far.actor, scene.attachment, 5 * page, 6), 'stored')
  const { reason } = await untilPartition(scene.home.actor, 'evil', ({ state }) => state === 'inactive')
  assert.match(reason, /was asked to give pages back and did not/)
  assert.deepEqual(await told(scene.home.actor, /^rolledBack/), [
    `rolledBack:${scene.shared.segid}:${3 * page}:${page}`,
  ])
  await check(scene)
})

test('a thread of home that waits for a page is released when the memory is taken away from it', async (t) => {
  const [home] = (await startWorld(t, 2, { strangers: ['evil'] })) as [Side, Side]
  const owner = await another(t, home)
  const { segid } = await share(owner, 2)
  const local = await another(t, home)
  const { attachment } = await attach(local, segid)
  const evil = await EvilCache.attached(t, home.address, segid, 2)
  await evil.own(1)
  const stored = store(local, attachment, page, 'waits').catch(() => {})
  await evil.peer.take('recall')
  await owner.end()
  await told(local, /^revoked:\d+:owner-exit$/)
  await stored
  assert.equal(evil.peer.ended, false, 'it went on by itself, not since evil was cut off')
})

test('what a cache changed and a home never saw is not there when the cache is gone', async (t) => {
  const scene = await startScene(t)
  await store(scene.home.actor, scene.shared.memory, 0, 'before')
  const evil = await EvilCache.attached(t, scene.home.address, scene.shared.segid, 2)
  await evil.own(0, 2)
  evil.put(0, filled(66), 'flush')
  evil.peer.send('sync', 99, {})
  await evil.peer.take('done')
  evil.peer.close()
  assert.equal(await load(scene.home.actor, scene.shared.memory, 0, 2), 'BB')
  // In one run or two: ages are told in seconds, and the flush may fall into a later one.
  const named = await told(scene.home.actor, /^rolledBack/)
  const runs = named.map((event) => event.split(':').slice(1).map(Number) as [number, number, number])
  assert(runs.every(([segid]) => segid === Number(scene.shared.segid)))
  assert.deepEqual(
    runs.flatMap(([, offset, length]) => Array.from({ length: length / page }, (_, index) => offset + index * page)),
    [0, page],
  )
  await check(scene)
})

test('a cache that has left does not get what it asked for and was not sent yet', async (t) => {
  const scene = await startScene(t)
  await store(scene.home.actor, scene.shared.memory, 0, 'before')
  const evil = await EvilCache.attached(t, scene.home.address, scene.shared.segid, 4)
  const read = frameOf('read', 0, evil.pages(0))
  // In one piece, so that the answer has not left when the second is carried out.
  evil.peer.socket.write(Buffer.concat([read, frameOf('leave', 0, { file: evil.file, cache: 0 })]))
  const { bytes } = await evil.peer.take('data')
  assert.deepEqual(bytes, filled(0))
  await check(scene)
})

test('a peer that sends what only a home says is not heard', async (t) => {
  const scene = await startScene(t)
  const evil = await EvilCache.attached(t, scene.home.address, scene.shared.segid, 4)
  evil.peer.send('data', 0, { ...evil.pages(0, 1, 1), bytes: filled(66) })
  for (const name of ['grant', 'invalidate', 'recall'] as const) evil.peer.send(name, 0, evil.pages(0, 1, 1))
  await evil.share(0)
  evil.peer.send('dropped', 0, evil.pages(0))
  await check(scene)
  assert.equal(evil.peer.ended, false)
})

test('a cache that gives back every page but one is cut off as well', async (t) => {
  const scene = await startScene(t)
  const evil = await EvilCache.attached(t, scene.home.address, scene.shared.segid, 4)
  await evil.own(1)
  const found = load(scene.home.actor, scene.shared.memory, page, 6)
  await evil.peer.take('recall')
  // It takes page 3 as often as home gets it back.
  const reader = await another(t, scene.home)
  const local = await attach(reader, scene.shared.segid)
  while (!evil.peer.ended) {
    const data = evil.own(3).catch(() => {})
    await data
    const stored = store(reader, local.attachment, 3 * page, 'again')
    await evil.peer.take('recall').catch(() => {})
    evil.give(3, filled(66))
    await stored
  }
  assert.equal(await found, '\0\0\0\0\0\0')
  await check(scene)
})

test('a cache that asks for ever and reads nothing does not make the service grow', async (t) => {
  const many = 256
  const [home, far] = (await startWorld(t, 2, { strangers: ['evil'] })) as [Side, Side]
  const { segid, memory } = await share(home.actor, many + 1)
  const { attachment } = await attach(far.actor, segid)
  const evil = await EvilCache.attached(t, home.address, segid, many)
  const before = residentBytes(home.service.pid)
  evil.peer.socket.pause()
  const { since } = await partitionOf(home.actor, 'evil')
  let isActive = true
  for (let round = 0; isActive; round += 1) {
    evil.peer.send('read', 0, evil.pages(0, many))
    evil.peer.send('dropped', 0, evil.pages(0, many))
    await store(home.actor, memory, many * page, `round ${round}`)
    assert.equal(await load(far.actor, attachment, many * page, 7), `round ${round}`.slice(0, 7))
    // 64 MiB wait for it at the most; what it was sent before is garbage.
    assert(residentBytes(home.service.pid) - before < 256 * 2 ** 20)
    const { state, since: now } = await partitionOf(home.actor, 'evil')
    isActive = state === 'active' && now === since
  }
  const { reason } = await partitionOf(home.actor, 'evil')
  assert.match(reason, /leaves \d+ bytes unread/)
})
