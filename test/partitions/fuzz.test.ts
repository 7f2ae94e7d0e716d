/** Random messages about pages, nearly right and wrong, against services that others use meanwhile. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { residentBytes } from '../hostile/scene.js'
import { until } from '../support/until.js'
import { Random } from '../unit/random.js'
import { type Side, untilPartition } from '../xpc/pair.js'
import type { RawPeer } from '../xpc/raw-peer.js'
import { EvilCache } from './evil.js'
import { another, attach, load, memfdsOf, page, share, startWorld, store } from './world.js'

const seed = 20_261_126
const inputs = 1_500
const pages = 16
/** Evil may have these; the others are not its. */
const evilPages = 8

const cacheWords = ['read', 'write', 'invalidated', 'returned', 'put', 'dropped'] as const
const homeWords = ['data', 'grant', 'invalidate', 'recall'] as const

/** What evil knows of its pages, so that much of what it says is right. */
class Liar {
  readonly #random: Random
  readonly #evil: EvilCache
  readonly #has = new Map<number, 'shared' | 'exclusive'>()
  readonly #asked = new Set<number>()
  /** Pages that came. */
  taken = 0
  #done = 0

  constructor(random: Random, evil: EvilCache) {
    this.#random = random
    this.#evil = evil
  }

  get peer(): RawPeer {
    return this.#evil.peer
  }

  say(): void {
    this.#hear()
    if (this.#random.below(6) > 0) this.#sayRight()
    else this.#sayWrong()
  }

  /** Home has seen what was said, or had enough. */
  async settled(): Promise<void> {
    const before = this.#done
    this.peer.send('sync', 1, {})
    await until(() => {
      this.#hear()
      return this.#done > before || this.peer.ended || !this.peer.socket.writable
    })
  }

  /** Answers what it is asked for. */
  #hear(): void {
    for (const message of this.peer.received.splice(0)) {
      if (message.name === 'data' || message.name === 'grant') {
        const way = message.name === 'data' && message.way === 1 ? 'shared' : 'exclusive'
        this.taken += message.count
        for (let at = message.first; at < message.first + message.count; at += 1) {
          this.#has.set(at, way)
          this.#asked.delete(at)
        }
      } else if (message.name === 'done') {
        this.#done += 1
      } else if (message.name === 'invalidate') {
        for (let at = message.first; at < message.first + message.count; at += 1) this.#has.delete(at)
        this.peer.send('invalidated', 0, this.#evil.pages(message.first, message.count))
      } else if (message.name === 'recall') {
        for (let at = message.first; at < message.first + message.count; at += 1) this.#return(at, message.way)
      }
    }
  }

  #return(at: number, way: number): void {
    if (this.#has.get(at) === 'exclusive') this.#evil.give(at, this.#random.bytes(page))
    else this.#evil.give(at, new Uint8Array(0), 'already')
    if (way === 1) this.#has.set(at, 'shared')
    else this.#has.delete(at)
  }

  #sayRight(): void {
    const at = this.#random.below(evilPages)
    const has = this.#has.get(at)
    if (has === 'exclusive')
      this.#evil.put(at, this.#random.bytes(page), this.#random.pick(['flush', 'flush', 'evict']))
    else if (!this.#asked.has(at)) {
      this.#asked.add(at)
      if (has === 'shared') this.peer.send('write', 0, this.#evil.pages(at))
      else this.peer.send(this.#random.pick(['read', 'write']), 0, this.#evil.pages(at))
    }
  }

  #sayWrong(): void {
    const random = this.#random
    const name = random.pick([...cacheWords, ...homeWords, 'leave', 'sync', 'attach', 'peek', 'release'] as const)
    const few = () => random.pick([0, 1, 2, evilPages - 1, evilPages, pages, 65_536, 0xffff_ffff, random.u32()])
    const bytes = random.bytes(random.pick([0, 1, page - 1, page, page, 2 * page]))
    const file = this.#evil.file + random.pick([0, 0, 0, 1, 0xffff])
    const what = {
      file,
      cache: random.pick([0, 0, 0, 1]),
      first: few(),
      count: random.pick([1, 1, 1, few()]),
      way: random.below(4),
    }
    const range = { apid: this.#evil.apid + BigInt(random.below(2)), offset: few() * page, length: few() * page }
    if (name === 'data' || name === 'returned' || name === 'put') this.peer.send(name, 0, { ...what, bytes })
    else if (name === 'attach')
      this.peer.send(name, random.u32(), { ...range, cache: what.cache, flags: random.below(3) })
    else if (name === 'peek') this.peer.send(name, random.u32(), range)
    else if (name === 'release') this.peer.send(name, 0, { apid: range.apid + 1n })
    else if (name === 'sync') this.peer.send(name, random.u32(), {})
    else if (name === 'leave') this.peer.send(name, 0, { file, cache: what.cache })
    else this.peer.send(name, 0, what)
  }
}

test(`a home that is sent ${inputs} messages about pages, right and wrong, goes on (seed ${seed})`, async (t) => {
  const [home, far] = (await startWorld(t, 2, { strangers: ['evil'] })) as [Side, Side]
  const { memory, handle, segid } = await share(home.actor, pages)
  const address = await home.actor.call<bigint>('addressOfMemory', memory)
  const { segid: evils, handle: evilSegment } = await home.actor.call<{ segid: bigint; handle: number }>(
    'makeRange',
    address,
    evilPages * page,
    { mode: 0o606 },
  )
  const user = await another(t, far)
  const { attachment } = await attach(user, segid)
  const reader = await another(t, home)
  const copy = await attach(reader, segid, 'read')
  const random = new Random(seed)
  const before = residentBytes(home.service.pid)

  /** Evil's pages are anybody's; of the others nobody sees anything but what was stored. */
  const check = async (round: number) => {
    const at = evilPages * page + (round % evilPages) * page
    await store(home.actor, memory, at, `home ${round}`)
    assert.equal(await load(user, attachment, at, 4), 'home')
    await store(user, attachment, at, `far ${round}.`)
    assert.equal(await load(reader, copy.attachment, at, 4), 'far ')
    await store(
      round % 2 === 0 ? home.actor : user,
      round % 2 === 0 ? memory : attachment,
      (round % evilPages) * page,
      'x',
    )
  }

  const join = async (): Promise<Liar> => {
    const evil = await EvilCache.attached(t, home.address, evils, evilPages)
    return new Liar(random, evil)
  }
  let liar = await join()
  let joins = 1
  let taken = 0
  for (let tried = 0; tried < inputs; tried += 1) {
    liar.say()
    if (random.below(3) === 0) await liar.settled()
    if (tried % 25 === 0) {
      const checked = check(tried / 25)
      // Whoever waits for evil's pages goes on when it answers, or has gone.
      let isDone = false
      const done = () => {
        isDone = true
      }
      checked.then(done, done)
      await until(() => {
        if (!isDone && !liar.peer.ended) liar.say()
        return isDone
      })
      await checked
    }
    if (!liar.peer.ended && liar.peer.socket.writable) continue
    taken += liar.taken
    liar = await join()
    joins += 1
  }
  t.diagnostic(`${joins} connections, ${taken + liar.taken} pages taken`)
  assert(joins > 20 && taken > 500)
  liar.peer.close()
  await untilPartition(home.actor, 'evil', ({ state }) => state === 'inactive')
  assert(residentBytes(home.service.pid) - before < 128 * 2 ** 20)
  await check(1)
  // A reader at home keeps its copy for as long as it lives.
  await reader.end()
  for (const segment of [evilSegment, handle]) await home.actor.call('remove', segment)
  for (const { service } of [home, far]) await until(() => memfdsOf(service.pid) === 0)
})
