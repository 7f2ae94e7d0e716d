/** A client and an agent against a service that lies. */
import assert from 'node:assert/strict'
import { openSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { Partition, XpmemError } from '../../src/index.js'
import { kernel } from '../../src/kernel/index.js'
import type { Message, MessageInput } from '../../src/wire/codec.js'
import { type MessageName, role } from '../../src/wire/schema.js'
import { until } from '../support/until.js'
import { type FakeConnection, type Script, startFakeService } from './fake-service.js'
import { devNull, memfd, memfdWithSeals } from './files.js'
import { descriptorCount, Hostile, type Scene } from './scene.js'

const page = 4096
const garbage = Uint8Array.of(9, 9, 9, 9, 9, 9, 9, 9, 9)

function open(runtimeDir: string): Promise<Partition> {
  return Partition.open({ runtimeDir, autoStart: false })
}

/**
 * Runs the work and sees that this process has no more descriptors after it than before. It may have
 * fewer: memory that is collected meanwhile had some.
 */
async function withoutLeak(work: () => Promise<void>): Promise<void> {
  const before = descriptorCount('self')
  await work()
  await until(() => descriptorCount('self') <= before)
}

const refusals: [name: string, code: string | RegExp, script: Script][] = [
  ['answers a hello with garbage', 'EPROTO', (_, to) => void to.bytes(garbage)],
  ['answers a hello with another message', 'EPROTO', ({ request }, to) => void to.answer('made', request, {})],
  ['answers a hello with a datagram of 100,000 bytes', 'EPROTO', (_, to) => void to.bytes(new Uint8Array(100_000))],
  ['answers a hello by closing', 'ECONNRESET', (_, to) => void to.close()],
  ['answers a hello with an empty datagram', 'ECONNRESET', (_, to) => void to.bytes(new Uint8Array(0))],
  [
    'refuses a hello with an errno that there is not',
    'EPROTO',
    ({ request }, to) => void to.answer('failure', request, { errno: 0xffff_ffff, text: 'odd' }),
  ],
  [
    'refuses a hello with EACCES',
    'EACCES',
    ({ request }, to) => void to.answer('failure', request, { errno: 13, text: 'not you' }),
  ],
]

for (const [name, code, script] of refusals) {
  test(`a service that ${name} makes open fail with ${code}`, async (t) => {
    const { runtimeDir } = startFakeService(t, (message, to) => {
      script(message, to)
      return true
    })
    await assert.rejects(open(runtimeDir), (error: XpmemError) => {
      assert(error instanceof XpmemError)
      assert.equal(error.code, code, error.message)
      return true
    })
  })
}

/** Opens a partition whose service welcomes everybody and does with requests what the script says. */
async function opened(t: TestContext, script: Script): Promise<{ partition: Partition; hostile: Hostile }> {
  const { runtimeDir } = startFakeService(t, (message, to) => message.name !== 'hello' && script(message, to))
  const hostile = new Hostile(undefined as unknown as Scene)
  const partition = await open(runtimeDir)
  t.after(async () => {
    await partition.close()
    await hostile.end()
  })
  return { partition, hostile }
}

const got = { apid: 5n, segid: 6n, length: 2 * page, dataLength: 1, ownerPid: 1, ownerStart: 1n, access: 2 }

const calls: [name: string, call: (partition: Partition) => Promise<unknown>][] = [
  ['make', (partition) => partition.make(partition.allocate(page))],
  ['get', (partition) => partition.get('name')],
  ['list', (partition) => partition.list()],
  ['remove', (partition) => partition.remove(7n)],
  ['release', (partition) => partition.release(7n)],
  ['attach', (partition) => partition.attach(7n)],
]

for (const [name, call] of calls) {
  test(`a service that answers a ${name} with garbage makes it fail, and the process goes on`, async (t) => {
    const { partition } = await opened(t, (_, to) => void to.bytes(garbage))
    await assert.rejects(call(partition), { name: 'XpmemError' })
  })
}

for (const [name, call] of calls.filter(([name]) => name !== 'remove' && name !== 'release')) {
  test(`a service that answers a ${name} with another message makes it fail with EPROTO`, async (t) => {
    const { partition } = await opened(t, ({ request }, to) => void to.answer('armed', request, {}))
    await assert.rejects(call(partition), { name: 'XpmemError', code: 'EPROTO' })
  })
}

test('answers to requests that were never sent are dropped, and their descriptors closed', async (t) => {
  const extra = openSync('/dev/null', 'r')
  t.after(() => kernel.close(extra))
  const { partition } = await opened(t, ({ request }, to) => {
    for (const other of [request + 1, request + 1_000, 0xffff_ffff]) to.answer('extents', other, {}, [extra, extra])
    to.answer('got', request, got)
  })
  await withoutLeak(async () => {
    assert.equal((await partition.get('name', 'readwrite')).length, 2 * page)
  })
})

test('descriptors that come with another message than extents are closed', async (t) => {
  const extra = openSync('/dev/null', 'r')
  t.after(() => kernel.close(extra))
  const { partition } = await opened(t, ({ name, request }, to) => {
    if (name === 'get') to.answer('got', request, got)
    else to.answer('armed', request, {}, [extra, extra, extra])
  })
  const permit = await partition.get('name', 'readwrite')
  await withoutLeak(async () => {
    for (let times = 0; times < 10; times += 1) await assert.rejects(permit.attach(), { code: 'EPROTO' })
  })
})

test('a listing that is not JSON is EPROTO', async (t) => {
  const { partition } = await opened(t, ({ request }, to) => void to.answer('listing', request, { text: '[{' }))
  await assert.rejects(partition.list(), { code: 'EPROTO', call: 'list' })
})

type Descriptors = (hostile: Hostile) => Promise<number[]> | number[]
const good: Descriptors = (hostile) => [memfd(hostile, 2 * page).readwrite]
const row = { offset: 0, length: 2 * page, fileOffset: 0, descriptor: 0, flags: 0 }

const wrongExtents: [name: string, rows: object[], descriptors: Descriptors][] = [
  ['nothing', [], () => []],
  ['no descriptor', [row], () => []],
  ['/dev/null', [row], devNull],
  ['a memfd that can shrink', [row], (hostile) => memfdWithSeals(hostile, 0)],
  ['a memfd that is too short', [row], (hostile) => [memfd(hostile, page).readwrite]],
  ['a part behind the end of the segment', [{ ...row, offset: 2 * page }], good],
  ['more than the segment has', [{ ...row, length: 64 * page }], (hostile) => [memfd(hostile, 64 * page).readwrite]],
  ['a part that begins inside a page', [{ ...row, fileOffset: 1 }], good],
  ['a part of no length', [{ ...row, length: 0 }], good],
  ['a descriptor that did not come', [{ ...row, descriptor: 1 }], good],
  ['a part at 2^53', [{ ...row, fileOffset: 2 ** 53 - page }], good],
  ['only the second page', [{ ...row, offset: page, length: page }], good],
  ['only the first page', [{ ...row, length: page }], good],
  ['a read-only memfd for a permit to write', [row], (hostile) => [memfd(hostile, 2 * page).readonly]],
]

for (const [name, rows, descriptors] of wrongExtents) {
  test(`a service that says a segment lies in ${name} makes attach fail, and nothing is mapped or left open`, async (t) => {
    const wrong: number[] = []
    const { partition, hostile } = await opened(t, (message, to) => {
      if (message.name === 'get') to.answer('got', message.request, got)
      else if (message.name === 'attach')
        to.answer('extents', message.request, { rows } as MessageInput<'extents'>, wrong)
      else to.answer('done', message.request, {})
    })
    wrong.push(...(await descriptors(hostile)))
    await withoutLeak(async () => {
      const permit = await partition.get('name', 'readwrite')
      await assert.rejects(permit.attach(), { name: 'XpmemError' })
      await permit.release()
    })
  })
}

test('an agent drops a service that sends it garbage, and comes back', async (t) => {
  const service = startFakeService(t, () => false)
  const partition = await open(service.runtimeDir)
  t.after(() => partition.close())
  const bad: ((to: FakeConnection) => void)[] = [
    (to) => to.bytes(garbage),
    (to) => to.bytes(Uint8Array.of(1)),
    (to) => to.bytes(new Uint8Array(100_000)),
    (to) => to.answer('made', 1, {}),
    (to) => to.answer('welcome', 1, { text: 'again' }),
    (to) => to.answer('revoke', 1, { segid: 1n, reason: 99 }),
    (to) => to.answer('ping', 1, {}, [0]),
    (to) => to.answer('share', 1, { length: page }, Array(16).fill(0)),
  ]
  for (const send of bad) {
    await until(() => service.agent() !== undefined)
    const connection = service.agent() as FakeConnection
    send(connection)
    await until(() => connection.closed)
  }
  await until(() => service.agent() !== undefined)
})

/** The memfd under a region, as fstat(2) tells it. */
function fileOf(region: ArrayBuffer): { device: bigint; inode: bigint } {
  const backing = kernel.backingOf(kernel.addressOf(region), page)
  assert(backing)
  const [device, inode] = kernel.inspect(backing.descriptors[0]).identity.split(':').map(BigInt)
  for (const descriptor of backing.descriptors) kernel.close(descriptor)
  return { device: device as bigint, inode: inode as bigint }
}

test('an agent does nothing to memory that its process never offered', async (t) => {
  const answers: Message[] = []
  const service = startFakeService(t, (message, to) => {
    if (to.role === role.agent) answers.push(message)
    return false
  })
  const partition = await open(service.runtimeDir)
  t.after(() => partition.close())
  await until(() => service.agent() !== undefined)
  const agent = service.agent() as FakeConnection
  const region = partition.allocate(page)
  new Uint8Array(region).fill(7)
  const address = kernel.addressOf(region)
  answers.length = 0
  const ranges = [
    { address, length: page },
    { address: 0n, length: page },
    { address: 1n, length: page },
    { address, length: 0 },
    { address, length: 2 ** 53 - page },
    { address: 2n ** 64n - 4096n, length: 2 * page },
  ]
  const names: MessageName[] = ['share', 'move']
  for (const name of names) for (const range of ranges) agent.answer(name, 1, range)
  agent.answer('arm', 1, fileOf(region))
  agent.answer('disarm', 1, fileOf(region))
  agent.answer('revoke', 2, { segid: 99n, reason: 1 })
  agent.answer('report', 3, {})
  await until(() => answers.some(({ name }) => name === 'holdings'))
  const outcomes = answers.filter(({ request }) => request === 1)
  assert.equal(outcomes.length, names.length * ranges.length + 2)
  assert(!outcomes.some(({ name }) => name === 'extents' || name === 'armed'))
  assert(new Uint8Array(region).every((byte) => byte === 7))
})

test('a client that is opened and closed again and again against a service that lies leaves nothing open', async (t) => {
  const { runtimeDir } = startFakeService(t, ({ request }, to) => {
    if (to.role === role.control) to.answer('failure', request, { errno: 1, text: 'no' })
    else to.bytes(garbage)
    return true
  })
  await assert.rejects(open(runtimeDir))
  await withoutLeak(async () => {
    for (let times = 0; times < 30; times += 1) await assert.rejects(open(runtimeDir), { name: 'XpmemError' })
  })
})

test('descriptors that come with an answer that has none are closed', async (t) => {
  const extra = openSync('/dev/null', 'r')
  t.after(() => kernel.close(extra))
  const { partition } = await opened(t, ({ name, request }, to) => {
    const beside = [extra, extra, extra]
    if (name === 'get') to.answer('got', request, got, beside)
    else if (name === 'list') to.answer('listing', request, { text: '[]' }, beside)
    else if (name === 'make') to.answer('made', request, { segid: 8n }, beside)
    else to.answer('done', request, {}, beside)
  })
  const region = partition.allocate(page)
  await withoutLeak(async () => {
    for (let times = 0; times < 10; times += 1) {
      await partition.get('name')
      await partition.list()
      await partition.make(region)
      await partition.remove(8n)
      await partition.release(5n)
    }
  })
})
