/** Random bytes and damaged messages, the same ones in every run as far as it gets. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { XpmemError } from '../../src/errors.js'
import { decode, encode, encodeOwn, type Message } from '../../src/wire/codec.js'
import { maxMessageBytes, role } from '../../src/wire/schema.js'
import type { SegmentInfo } from '../../src/wire/segment-info.js'
import type { RawClient } from '../support/raw.js'
import { until } from '../support/until.js'
import { damaged, inputOf, messageNames, Random, randomMessage } from '../unit/random.js'
import { memfd } from './files.js'
import { clientRequests, residentBytes, Scene } from './scene.js'

const seed = 20_070_607
const seconds = Number(process.env.XPMEM_FUZZ_SECONDS ?? 3)
const mebibyte = 2 ** 20

declare const gc: () => void

function randomBytes(random: Random): Uint8Array {
  const message = randomMessage(random, random.pick(messageNames))
  const valid = encodeOwn(message.name, message.request, inputOf(message))
  return random.below(8) === 0 ? valid : damaged(random, valid)
}

const again = new Uint8Array(maxMessageBytes)

/** True if the bytes are a message, and then exactly the bytes of that message. */
function isMessage(bytes: Uint8Array): boolean {
  let message: ReturnType<typeof decode>
  try {
    message = decode(bytes, bytes.length)
  } catch (error) {
    assert(error instanceof XpmemError, `${error} for ${Buffer.from(bytes).toString('hex')}`)
    assert.equal(error.code, 'EPROTO')
    return false
  }
  const length = encode(again, message.name, message.request, inputOf(message))
  assert(
    Buffer.compare(bytes, again.subarray(0, length)) === 0,
    `not the same again: ${Buffer.from(bytes).toString('hex')}`,
  )
  return true
}

test(`whatever bytes come, they are one message exactly, or EPROTO (seed ${seed})`, (t) => {
  const random = new Random(seed)
  let tried = 0
  let taken = 0
  let settled = 0
  const end = performance.now() + seconds * 1_000
  while (performance.now() < end) {
    for (let batch = 0; batch < 1_000; batch += 1) if (isMessage(randomBytes(random))) taken += 1
    tried += 1_000
    if (tried === 20_000) {
      gc()
      settled = process.memoryUsage().heapUsed
    }
  }
  const said = `${tried} inputs in ${seconds} s with seed ${seed}, ${taken} of them messages`
  t.diagnostic(said)
  console.log(`fuzz: ${said}`)
  assert(taken > 0 && taken < tried)
  if (settled === 0) return
  gc()
  assert(process.memoryUsage().heapUsed - settled < 8 * mebibyte, 'memory grows with the inputs')
})

test('a service that is sent damaged messages goes on', async (t) => {
  const scene = await Scene.start(t)
  const inputs = 6_000
  await scene.case(t, `${inputs} inputs over connections of every kind (seed ${seed})`, async (hostile) => {
    const random = new Random(seed)
    const before = residentBytes(scene.service.pid)
    const { readwrite, readonly } = memfd(hostile, 8192)
    const openNext = async () => {
      const next = hostile.client()
      const kind = random.pick([undefined, role.control, role.control, role.agent])
      if (kind !== undefined) await next.hello(kind)
      return next
    }
    let client = await openNext()
    for (let tried = 0; tried < inputs; tried += 1) {
      // Half of them are requests, so that many a connection lives for longer than one input.
      const message = randomMessage(random, random.pick(random.below(2) === 0 ? clientRequests : messageNames))
      const valid = encodeOwn(message.name, message.request, inputOf(message))
      const bytes = random.below(3) === 0 ? valid : damaged(random, valid)
      const descriptors = random.below(10) === 0 ? [readwrite, readonly] : []
      const current = client
      await until(() => {
        current.poll()
        current.received.length = 0
        return current.ended || current.sendBytes(bytes, descriptors)
      })
      if (current.ended || random.below(50) === 0) {
        current.close()
        client = await openNext()
      }
      if (tried % 1_000 === 0) await scene.bystanders.check()
    }
    assert(residentBytes(scene.service.pid) - before < 128 * mebibyte)
    client.close()
    await removeOwn(await hostile.greeted())
  })
})

/** Takes back what connections that were cut off had made. */
async function removeOwn(client: RawClient): Promise<void> {
  let cursor = 0n
  do {
    const page = (await client.request('list', { cursor })) as Message & { name: 'listing' }
    cursor = page.cursor
    for (const { segid, owner } of JSON.parse(page.text) as SegmentInfo[]) {
      if (owner.pid === process.pid) await client.request('remove', { segid: BigInt(segid) })
    }
  } while (cursor !== 0n)
}
