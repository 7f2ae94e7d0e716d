/** A partition that breaks the protocol of pages as their home. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { packId } from '../../src/ids.js'
import type { Place } from '../../src/partitions/places.js'
import { keep, share as shareWay } from '../../src/wire/xpc-schema.js'
import type { XpcInput, XpcMessage } from '../../src/xpc/connection.js'
import type { Actor } from '../support/actor.js'
import { until } from '../support/until.js'
import { type Side, untilPartition } from '../xpc/pair.js'
import { joined, type RawPeer } from '../xpc/raw-peer.js'
import { filled } from './evil.js'
import { another, attach, load, page, share, startWorld, store } from './world.js'

const evilId = 9
const file = 7
const pages = 8

/** Home of one segment of 8 pages, in a file of as many, as far as the test has it answer. */
class EvilHome {
  readonly peer: RawPeer
  /** What it tells of where memory lies. */
  places: Place[] = [{ offset: 0, length: pages * page, fileOffset: 0, fileLength: pages * page, file, reserved: 0 }]
  readonly segid = packId({ partition: evilId, incarnation: 1, sequence: 1 })
  #apid = 1n
  #isAnswering = true

  private constructor(peer: RawPeer) {
    this.peer = peer
    peer.socket.on('data', () => this.#answer())
  }

  static async join(t: TestContext, side: Side): Promise<EvilHome> {
    return new EvilHome(await joined(t, side.address, 'evil', evilId))
  }

  /** From now on the test itself takes what comes. */
  stopAnswering(): void {
    this.#isAnswering = false
  }

  #answer(): void {
    for (const message of this.#isAnswering ? this.peer.received.splice(0) : []) this.#answerOne(message)
  }

  #answerOne(message: XpcMessage): void {
    const { peer, segid } = this
    if (message.name === 'get') {
      this.#apid += 1n
      const length = pages * page
      peer.send('got', message.request, {
        apid: this.#apid,
        segid,
        length,
        dataLength: length,
        access: message.access,
        flags: 1,
      })
    } else if (message.name === 'attach') peer.send('places', message.request, { rows: this.places })
    else if (message.name === 'sync') peer.send('done', message.request, {})
    else peer.received.push(message)
  }

  /** Which pages of which cache, as a message begins. */
  pages(first: number, count = 1, way = 0): XpcInput<'read'> {
    return { file, cache: 0, first, count, way, reserved: 0 }
  }

  data(first: number, value: number, way: keyof typeof shareWay, count = 1): void {
    this.peer.send('data', 0, { ...this.pages(first, count, shareWay[way]), bytes: filled(value, count * page) })
  }
}

interface Scene {
  readonly far: Side
  readonly check: () => Promise<void>
}

/** A partition that uses memory of one that behaves, and will use some of evil's. */
async function startScene(t: TestContext): Promise<Scene> {
  const [far, good] = (await startWorld(t, 2, { strangers: ['evil'] })) as [Side, Side]
  const { memory, segid } = await share(good.actor, 4)
  const actor = await another(t, far)
  const { attachment } = await attach(actor, segid)
  let rounds = 0
  return {
    far,
    async check() {
      rounds += 1
      for (let index = 0; index < 4; index += 1) {
        await store(actor, attachment, index * page, `round ${rounds}`)
        assert.equal(await load(good.actor, memory, index * page, 7), `round ${rounds}`.slice(0, 7))
      }
    },
  }
}

async function untilTaken(actor: Actor, attachment: number): Promise<void> {
  await until(() => actor.events.includes(`revoked:${attachment}:partition`))
}

/** What evil says, to a cache that has page 0 to read, page 1 to write, and the rest not at all. */
const breaches: Record<string, { say: (evil: EvilHome) => void; refusal: RegExp }> = {
  'sends a page that was not asked for': {
    say: (evil) => evil.data(5, 66, 'shared'),
    refusal: /page 5 was not asked for/,
  },
  'sends a page twice': { say: (evil) => evil.data(0, 66, 'shared'), refusal: /page 0 was not asked for/ },
  'sends a page past the end': {
    say: (evil) => evil.data(pages, 66, 'shared'),
    refusal: /are not in a file of 8 pages/,
  },
  'sends less than a page': {
    say: ({ peer, pages: of }) => peer.send('data', 0, { ...of(2, 1, 1), bytes: filled(66, page - 1) }),
    refusal: /the content is not of those pages/,
  },
  'sends one page for two': {
    say: ({ peer, pages: of }) => peer.send('data', 0, { ...of(2, 2, 1), bytes: filled(66) }),
    refusal: /the content is not of those pages/,
  },
  'sends a page in a way that there is not': {
    say: ({ peer, pages: of }) => peer.send('data', 0, { ...of(2, 1, 77), bytes: filled(66) }),
    refusal: /there is no way 77/,
  },
  'grants what nobody asked for': {
    say: (evil) => evil.peer.send('grant', 0, evil.pages(0)),
    refusal: /page 0 was not asked for/,
  },
  'grants more pages than there are': {
    say: (evil) => evil.peer.send('grant', 0, evil.pages(0, 0xffff_ffff)),
    refusal: /are not in a file of 8 pages/,
  },
  'recalls what it has given for reading': {
    say: (evil) => evil.peer.send('recall', 0, evil.pages(0, 1, keep.absent)),
    refusal: /page 0 is not here in that way/,
  },
  'invalidates what it has given for writing': {
    say: (evil) => evil.peer.send('invalidate', 0, evil.pages(1)),
    refusal: /page 1 is not here in that way/,
  },
  'invalidates no page': { say: (evil) => evil.peer.send('invalidate', 0, evil.pages(0, 0)), refusal: /page/ },
  'puts a page, as if it were a cache': {
    say: (evil) => evil.peer.send('put', 0, { ...evil.pages(0, 1, 1), bytes: filled(66) }),
    refusal: /nothing attached of that file/,
  },
}

test('a home that breaks the protocol is cut off, its memory is revoked, and everybody else goes on', async (t) => {
  const { far, check } = await startScene(t)
  for (const [what, { say, refusal }] of Object.entries(breaches)) {
    await t.test(what, async (case_) => {
      const evil = await EvilHome.join(case_, far)
      const { attachment } = await attach(far.actor, evil.segid)
      const first = load(far.actor, attachment, 0, 2)
      await evil.peer.take('read')
      evil.data(0, 65, 'shared')
      assert.equal(await first, 'AA')
      const second = store(far.actor, attachment, page, 'x')
      await evil.peer.take('write')
      evil.data(1, 65, 'exclusive')
      await second
      say(evil)
      assert.match(await evil.peer.refusal(), refusal)
      await untilTaken(far.actor, attachment)
      await check()
      await untilPartition(far.actor, 'evil', ({ state }) => state === 'inactive')
    })
  }
})

test('a thread that waits for a page which its home never sends is released', async (t) => {
  const { far, check } = await startScene(t)
  const evil = await EvilHome.join(t, far)
  const actor = await another(t, far)
  const { attachment } = await attach(actor, evil.segid)
  const waiting = actor.call('read', attachment, 0, 1).catch(() => {})
  await evil.peer.take('read')
  await check()
  await waiting
  await untilTaken(actor, attachment)
  const { reason } = await untilPartition(far.actor, 'evil', ({ state }) => state === 'inactive')
  assert.match(reason, /was asked for pages and did not give them/)
  await check()
})

test('a thread that waits for a page is released when the link to its home ends', async (t) => {
  const { far, check } = await startScene(t)
  const evil = await EvilHome.join(t, far)
  const actor = await another(t, far)
  const { attachment } = await attach(actor, evil.segid)
  const waiting = actor.call('write', attachment, 3 * page, filled(1, 10)).catch(() => {})
  await evil.peer.take('write')
  evil.peer.close()
  await waiting
  await untilTaken(actor, attachment)
  await check()
})

const wrongPlaces: Record<string, { places: Partial<Place>[]; code: string }> = {
  'in half a page': { places: [{ length: 100 }], code: 'EPROTO' },
  'outside of their file': { places: [{ fileOffset: page }], code: 'EPROTO' },
  'in a file that is larger than any': { places: [{ fileLength: 2 ** 44 }], code: 'EPROTO' },
  'longer than what was asked for': {
    places: [{ length: 2 * pages * page, fileLength: 2 * pages * page }],
    code: 'EPROTO',
  },
  'that do not follow each other': { places: [{ length: page }, { offset: 3 * page, length: page }], code: 'EPROTO' },
  'that are none': { places: [], code: 'EPROTO' },
  'in a file of two lengths': {
    places: [{ length: page }, { offset: page, length: page, fileLength: 2 * pages * page }],
    code: 'EPROTO',
  },
}

test('places that cannot be are EPROTO, and end the link', async (t) => {
  const { far, check } = await startScene(t)
  for (const [what, { places, code }] of Object.entries(wrongPlaces)) {
    await t.test(`places ${what}`, async (case_) => {
      const evil = await EvilHome.join(case_, far)
      const [usual] = evil.places as [Place]
      evil.places = places.map((place) => ({ ...usual, ...place }))
      await assert.rejects(attach(far.actor, evil.segid), { code })
      await evil.peer.refusal()
      await check()
    })
  }
})

test('an attach is asked again if another permit took the copy along meanwhile', async (t) => {
  const { far, check } = await startScene(t)
  const evil = await EvilHome.join(t, far)
  const first = await attach(far.actor, evil.segid)
  const actor = await another(t, far)
  const { handle } = await actor.call<{ handle: number }>('get', evil.segid, 'readwrite')
  evil.stopAnswering()
  const attaching = actor.call<number>('attach', handle)
  const { request } = await evil.peer.take('attach')
  await far.actor.call('release', first.permit)
  await evil.peer.take('leave')
  evil.peer.send('places', request, { rows: evil.places })
  const again = await evil.peer.take('attach')
  evil.peer.send('places', again.request, { rows: evil.places })
  const attachment = await attaching
  const reading = load(actor, attachment, 0, 2)
  await evil.peer.take('read')
  evil.data(0, 65, 'shared')
  assert.equal(await reading, 'AA')
  await check()
})

test('a home is told if nobody wants any more what it was asked to make ready', async (t) => {
  const { far, check } = await startScene(t)
  const evil = await EvilHome.join(t, far)
  const actor = await another(t, far)
  const { handle } = await actor.call<{ handle: number }>('get', evil.segid, 'readwrite')
  evil.stopAnswering()
  actor.call('attach', handle).catch(() => {})
  const { request, cache } = await evil.peer.take('attach')
  await actor.end()
  await evil.peer.take('release')
  evil.peer.send('places', request, { rows: evil.places })
  const left = await evil.peer.take('leave')
  assert.deepEqual([left.file, left.cache], [file, cache])
  await check()
})

test('a reader never has more than reading asked for', async (t) => {
  const { far } = await startScene(t)
  const evil = await EvilHome.join(t, far)
  const actor = await another(t, far)
  const { attachment } = await attach(actor, evil.segid, 'read')
  actor.call('prefetch', attachment, 0, 2 * page, 'write').catch(() => {})
  await until(() => evil.peer.received.length > 0)
  assert.deepEqual([...new Set(evil.peer.words)], ['read'])
})
