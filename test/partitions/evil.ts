/** A partition that the test plays by hand, as a cache of pages of another one's. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { access } from '../../src/wire/schema.js'
import { put, returned } from '../../src/wire/xpc-schema.js'
import type { XpcInput } from '../../src/xpc/connection.js'
import type { Address } from '../../src/xpc/directory.js'
import { joined, type RawPeer } from '../xpc/raw-peer.js'
import { page } from './world.js'

let requests = 10

function nextRequest(): number {
  requests += 1
  return requests
}

export class EvilCache {
  readonly peer: RawPeer
  /** The number of the file that it has attached some of. */
  file = 0
  apid = 0n

  private constructor(peer: RawPeer) {
    this.peer = peer
  }

  static async join(t: TestContext, address: Address): Promise<EvilCache> {
    return new EvilCache(await joined(t, address, 'evil', 9))
  }

  /** One that has attached the first pages of a segment, and has behaved so far. */
  static async attached(
    t: TestContext,
    address: Address,
    segid: bigint,
    count: number,
    wanted?: keyof typeof access,
  ): Promise<EvilCache> {
    const evil = await EvilCache.join(t, address)
    await evil.get(segid, wanted)
    await evil.attach(0, count)
    return evil
  }

  async get(segid: bigint, wanted: keyof typeof access = 'readwrite'): Promise<void> {
    const { peer } = this
    peer.send('get', nextRequest(), { segid, access: access[wanted], uid: 0, gid: 0, flags: 0, rows: [] })
    this.apid = (await peer.take('got')).apid
  }

  /** Attaches pages of the segment; their cache is the one of that number. */
  async attach(first: number, count: number, cache = 0): Promise<void> {
    const { peer, apid } = this
    peer.send('attach', nextRequest(), { apid, offset: first * page, length: count * page, cache, flags: 0 })
    const { rows } = await peer.take('places')
    assert.equal(rows.length, 1)
    this.file = rows[0]?.file ?? 0
  }

  /** What a message about pages begins with. */
  pages(first: number, count = 1, way = 0): XpcInput<'read'> {
    return { file: this.file, cache: 0, first, count, way, reserved: 0 }
  }

  /** Has pages for writing. */
  async own(first: number, count = 1): Promise<void> {
    this.peer.send('write', 0, this.pages(first, count))
    for (let here = 0; here < count; ) here += (await this.peer.take('data')).count
  }

  async share(first: number, count = 1): Promise<void> {
    this.peer.send('read', 0, this.pages(first, count))
    for (let here = 0; here < count; ) here += (await this.peer.take('data')).count
  }

  give(first: number, content: Uint8Array, way: keyof typeof returned = 'content', count = 1): void {
    this.peer.send('returned', 0, { ...this.pages(first, count, returned[way]), bytes: content })
  }

  put(first: number, content: Uint8Array, way: keyof typeof put = 'flush', count = 1): void {
    this.peer.send('put', 0, { ...this.pages(first, count, put[way]), bytes: content })
  }
}

/** A page, or so many bytes, of one value. */
export const filled = (value: number, length = page) => new Uint8Array(length).fill(value)
