import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Message, MessageInput } from '../../src/wire/codec.js'
import { access, makeFlag } from '../../src/wire/schema.js'
import type { SegmentInfo } from '../../src/wire/segment-info.js'
import { assertFailure, Scene } from './scene.js'

type Made = Message & { name: 'made' }
type Got = Message & { name: 'got' }

const page = 4096
const largest = Number.MAX_SAFE_INTEGER
const lastPage = 2 ** 53 - page

test('requests that make no sense, or ask for what is not theirs', async (t) => {
  const scene = await Scene.start(t)
  const { consumer } = scene.bystanders
  const [innocent] = await consumer.call<SegmentInfo[]>('list')
  const segid = BigInt(innocent?.segid as string)
  const { apid } = await consumer.call<{ apid: bigint }>('get', segid, 'readwrite')

  const refused = (name: string, bad: MessageInput<'make'>[]) =>
    scene.case(t, name, async (hostile) => {
      const client = await hostile.greeted()
      const good = { address: 0n, length: page, dataLength: 1, mode: 0o600 }
      for (const input of bad) assertFailure(await client.request('make', { ...good, ...input }), 'EINVAL')
      assert.equal((await client.request('make', good))?.name, 'made', 'the connection goes on')
    })

  await refused('a make of nothing, of odd bytes or at an odd address is EINVAL', [
    { length: 0 },
    { length: 1 },
    { length: page + 1 },
    { length: largest },
    { address: 1n },
    { address: 2n ** 64n - 1n },
  ])
  await refused('a make past the end of the address space is EINVAL, also where the sum overflows', [
    { address: 2n ** 63n },
    { address: 2n ** 63n - BigInt(page), length: 2 * page },
    { address: 2n ** 64n - BigInt(page) },
    { address: 2n ** 64n - BigInt(page), length: lastPage },
    { address: 2n ** 63n - BigInt(page), length: lastPage },
  ])
  await refused('a make with more data than memory, odd mode bits or odd flags is EINVAL', [
    { dataLength: page + 1 },
    { dataLength: largest },
    { mode: 0o1000 },
    { mode: 0xffff_ffff },
    { flags: 2 },
    { flags: 0xffff_fffe },
  ])

  await scene.case(t, 'a name that cannot be is refused, and one that can be is kept as it is', async (hostile) => {
    const client = await hostile.greeted()
    const make = (text: string) => client.request('make', { address: 0n, length: page, text })
    for (const name of ['a/b', 'a\nb', '\0', '0x12', '0XFF', '\x7f']) assertFailure(await make(name), 'EINVAL')
    for (const name of ['x'.repeat(256), 'ä'.repeat(128)]) assertFailure(await make(name), 'ENAMETOOLONG')
    assertFailure(await make('innocent'), 'EEXIST')
    for (const name of ['x'.repeat(255), '0x', '🜁', ' ']) {
      assert.equal((await make(name))?.name, 'made')
      assert.equal((await client.request('get', { access: access.read, text: name }))?.name, 'got')
    }
  })

  await scene.case(t, 'a get of what cannot be, or with odd access, is refused', async (hostile) => {
    const client = await hostile.greeted()
    const get = (input: MessageInput<'get'>) => client.request('get', { access: access.read, ...input })
    assertFailure(await get({}), 'EINVAL')
    for (const id of [2n ** 63n, 2n ** 64n - 1n]) assertFailure(await get({ segid: id }), 'EINVAL')
    for (const id of [1n, 2n ** 63n - 1n, apid]) assertFailure(await get({ segid: id }), 'ENOENT')
    for (const odd of [0, 3, 4, 0xffff_ffff]) assertFailure(await get({ segid, access: odd }), 'EINVAL')
    assertFailure(await get({ text: 'no such segment' }), 'ENOENT')
  })

  await scene.case(t, 'a get of a name as long as a datagram is answered, and the service lives', async (hostile) => {
    const client = await hostile.greeted()
    for (const length of [256, 60_000, 65_512]) {
      assertFailure(
        await client.request('get', { access: access.read, text: 'n'.repeat(length) }),
        'ENOENT',
        'ENAMETOOLONG',
      )
    }
  })

  await scene.case(t, 'an attach outside of its segment is EINVAL, whatever the numbers add up to', async (hostile) => {
    const client = await hostile.greeted()
    const made = (await client.request('make', { address: 0n, length: 4 * page, mode: 0o600 })) as Made
    const got = (await client.request('get', { segid: made.segid, access: access.read })) as Got
    for (const [offset, length] of [
      [0, 0],
      [0, 1],
      [1, page],
      [0, 5 * page],
      [4 * page, page],
      [3 * page, 2 * page],
      [lastPage, page],
      [page, lastPage],
      [lastPage, lastPage],
      [largest, largest],
    ] as const) {
      assertFailure(await client.request('attach', { apid: got.apid, offset, length }), 'EINVAL')
    }
    for (const id of [0n, 2n ** 63n, 2n ** 64n - 1n]) {
      for (const name of ['attach', 'describe', 'release'] as const) {
        assertFailure(await client.request(name, { apid: id }), 'EINVAL')
      }
      assertFailure(await client.request('remove', { segid: id }), 'EINVAL')
    }
  })

  await scene.case(
    t,
    "another process's segid and apid are EACCES to remove, release, attach and describe",
    async (hostile) => {
      const client = await hostile.greeted()
      assertFailure(await client.request('remove', { segid }), 'EACCES')
      for (const name of ['release', 'attach', 'describe'] as const) {
        assertFailure(await client.request(name, { apid, length: page } as never), 'EACCES')
      }
      assertFailure(await client.request('remove', { segid: apid }), 'ENOENT')
      assertFailure(await client.request('release', { apid: segid }), 'ENOENT')
      assert.equal((await consumer.call<{ length: number }>('get', segid, 'readwrite')).length, 2 * page)
    },
  )

  await scene.case(t, "another process's segid does not come by guessing its token", async (hostile) => {
    const client = await hostile.greeted()
    const again = { segid, address: 0n, length: page, mode: 0o666 }
    for (const half of [0n, 1n, 2n ** 64n - 1n]) {
      assertFailure(await client.request('make', { ...again, tokenHigh: half, tokenLow: half }), 'EACCES')
    }
    const own = (await client.request('make', { address: 0n, length: page })) as Made
    const { tokenHigh, tokenLow } = own
    assertFailure(await client.request('make', { ...again, tokenHigh, tokenLow }), 'EACCES')
    assertFailure(await client.request('make', { ...again, segid: 2n ** 64n - 1n, tokenHigh, tokenLow }), 'EACCES')
  })

  await scene.case(t, 'a permit does not come by a forged token, nor become more than it was', async (hostile) => {
    const client = await hostile.greeted()
    const got = (await client.request('get', { segid, access: access.read })) as Got
    const { name: _, request: __, length: ___, dataLength: ____, ...token } = got
    const changes: MessageInput<'restore'>[] = [
      { access: access.readwrite },
      { apid },
      { apid: got.apid + 1n },
      { segid: got.segid + 1n },
      { ownerPid: process.pid },
      { ownerStart: got.ownerStart + 1n },
      { tokenHigh: got.tokenHigh ^ 1n },
      { tokenLow: got.tokenLow ^ (1n << 63n) },
      { tokenHigh: 0n, tokenLow: 0n },
    ]
    for (const change of changes) {
      assertFailure(await client.request('restore', { ...token, ...change }), 'EACCES')
    }
    assert.equal((await client.request('restore', token))?.name, 'done')
  })

  await scene.case(t, 'a released permit does not come back by the token it had', async (hostile) => {
    const client = await hostile.greeted()
    const got = (await client.request('get', { segid, access: access.read })) as Got
    await client.request('release', { apid: got.apid })
    const { name: _, request: __, length: ___, dataLength: ____, ...token } = got
    assertFailure(await client.request('restore', token), 'ENOENT')
    assertFailure(await client.request('describe', { apid: got.apid }), 'ENOENT')
  })

  await scene.case(t, 'a listing from any cursor ends', async (hostile) => {
    const client = await hostile.greeted()
    for (const cursor of [0n, 1n, segid, 2n ** 63n - 1n, 2n ** 64n - 1n]) {
      const answer = await client.request('list', { cursor })
      assert.equal(answer?.name, 'listing')
      assert(Array.isArray(JSON.parse((answer as { text: string }).text)))
    }
  })

  await scene.case(t, 'an attach by a process without an agent says so', async (hostile) => {
    const client = await hostile.greeted()
    const got = (await client.request('get', { segid, access: access.read })) as Got
    assertFailure(await client.request('attach', { apid: got.apid, offset: 0, length: page }), 'ETIMEDOUT')
  })

  await scene.case(t, 'a make that says it is backed and brings nothing is EPROTO', async (hostile) => {
    const client = await hostile.greeted()
    const answer = await client.request('make', { address: 0n, length: page, flags: makeFlag.backed })
    assertFailure(answer, 'EPROTO')
    assertFailure(await client.request('get', { access: access.read, text: '' }), 'EINVAL')
  })
})
