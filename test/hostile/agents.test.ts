import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startTimeOf } from '../../src/service/processes.js'
import type { Message } from '../../src/wire/codec.js'
import { access, type MessageName, role } from '../../src/wire/schema.js'
import type { RawClient } from '../support/raw.js'
import { until } from '../support/until.js'
import { devNull, memfd, memfdWithSeals, pipe } from './files.js'
import { assertFailure, type Hostile, residentBytes, Scene } from './scene.js'

const length = 8192
type Made = Message & { name: 'made' }

/** Answers the next request of an agent's connection that has this name. */
async function nextAsked(agent: RawClient, name: MessageName, giveUp = () => false): Promise<Message> {
  const found = () => agent.received.findIndex((message) => message.name === name)
  await until(() => {
    agent.poll()
    return found() >= 0 || agent.ended || giveUp()
  })
  assert(!agent.ended, 'the agent was cut off')
  return agent.received.splice(found(), 1)[0] as Message
}

/** A process with an agent that offers memory in no file, which its agent must be asked for. */
async function badOwner(
  hostile: Hostile,
  bytes = length,
): Promise<{ agent: RawClient; client: RawClient; segid: bigint }> {
  const agent = await hostile.greeted(role.agent)
  const client = await hostile.greeted()
  const made = (await client.request('make', { address: 0n, length: bytes, mode: 0o666 })) as Made
  return { agent, client, segid: made.segid }
}

/** An innocent process attaches the segment of the bad owner: what it gets. */
async function attachOutcome(
  hostile: Hostile,
  segid: bigint,
  answer: (settled: () => boolean) => Promise<void> | void,
): Promise<string> {
  const { consumer } = hostile.scene.bystanders
  const { handle } = await consumer.call<{ handle: number }>('get', segid, 'readwrite')
  let settled = false
  const outcome = consumer
    .call('attach', handle)
    .then(
      () => 'attached',
      (error: NodeJS.ErrnoException) => error.code as string,
    )
    .finally(() => {
      settled = true
    })
  await answer(() => settled)
  const code = await outcome
  await consumer.call('release', handle)
  await consumer.call('forget', handle)
  return code
}

test('agents that lie, keep silent or talk without end', async (t) => {
  const scene = await Scene.start(t)

  await scene.case(t, 'who attaches the memory of an agent that never answers gets ETIMEDOUT', async (hostile) => {
    const { segid } = await badOwner(hostile)
    assert.equal(await attachOutcome(hostile, segid, () => {}), 'ETIMEDOUT')
  })

  await scene.case(t, "an answer to another request than the agent's is not taken", async (hostile) => {
    const { segid, agent } = await badOwner(hostile)
    const outcome = await attachOutcome(hostile, segid, async () => {
      const { request } = await nextAsked(agent, 'share')
      const { readwrite, readonly } = memfd(hostile, length)
      const rows = [{ offset: 0, length, fileOffset: 0, descriptor: 0, flags: 0 }]
      for (const other of [0, request + 1, request - 1, 0xffff_ffff]) {
        agent.send('extents', other, { rows }, [readwrite, readonly])
      }
    })
    assert.equal(outcome, 'ETIMEDOUT')
  })

  await scene.case(t, 'an agent that answers with garbage is cut off, and who waits is told', async (hostile) => {
    const { segid, agent } = await badOwner(hostile)
    const outcome = await attachOutcome(hostile, segid, async () => {
      await nextAsked(agent, 'share')
      agent.sendBytes(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9))
    })
    assert.equal(outcome, 'ECONNRESET')
    await agent.whenEnded()
  })

  await scene.case(t, 'an agent that answers with another message than asked for makes EPROTO', async (hostile) => {
    for (const name of ['done', 'holdings', 'armed', 'made', 'ping', 'share'] as const) {
      const { segid, agent, client } = await badOwner(hostile)
      const outcome = await attachOutcome(hostile, segid, async () => {
        const { request } = await nextAsked(agent, 'share')
        agent.send(name, request, {}, [memfd(hostile, length).readwrite])
      })
      assert.equal(outcome, 'EPROTO', name)
      await client.request('remove', { segid })
      agent.close()
      await until(async () => (await client.request('ping', {}))?.name === 'done')
    }
  })

  await scene.case(t, 'what an agent refuses with reaches who asked, also with the longest text', async (hostile) => {
    const { segid, agent } = await badOwner(hostile)
    for (const text of ['', 'no', 'n'.repeat(65_520), '🜁'.repeat(16_000)]) {
      const outcome = await attachOutcome(hostile, segid, async () => {
        const { request } = await nextAsked(agent, 'share')
        agent.send('failure', request, { errno: 14, text })
      })
      assert.equal(outcome, 'EFAULT')
    }
  })

  const rows = (...list: object[]) =>
    list.map((row) => ({ offset: 0, length, fileOffset: 0, descriptor: 0, flags: 0, ...row }))
  const good = (hostile: Hostile) => {
    const { readwrite, readonly } = memfd(hostile, length)
    return [readwrite, readonly]
  }
  const wrongAnswer = (
    name: string,
    list: object[],
    pick: (hostile: Hostile) => Promise<number[]> | number[] = good,
    code = 'EPROTO',
  ) =>
    scene.case(t, `an agent that shares ${name} makes ${code}, and is asked again the next time`, async (hostile) => {
      const { segid, agent } = await badOwner(hostile)
      const descriptors = await pick(hostile)
      const wrong = await attachOutcome(hostile, segid, async () => {
        const { request } = await nextAsked(agent, 'share')
        agent.send('extents', request, { rows: rows(...list) }, descriptors)
      })
      assert.equal(wrong, code)
      const right = await attachOutcome(hostile, segid, async () => {
        const { request } = await nextAsked(agent, 'share')
        agent.send('extents', request, { rows: rows({}) }, good(hostile))
      })
      assert.equal(right, 'attached')
    })

  await wrongAnswer('a pipe', [{}], pipe)
  await wrongAnswer('/dev/null', [{}], devNull)
  await wrongAnswer('a memfd without seals', [{}], (hostile) => memfdWithSeals(hostile, 0), 'EFAULT')
  await wrongAnswer('a memfd that is too short', [{}], (hostile) => {
    const { readwrite, readonly } = memfd(hostile, length / 2)
    return [readwrite, readonly]
  })
  await wrongAnswer('no descriptor', [{}], () => [])
  await wrongAnswer('one descriptor', [{}], (hostile) => good(hostile).slice(1))
  await wrongAnswer('nothing', [])
  await wrongAnswer('nothing and no descriptor', [], () => [])
  await wrongAnswer('more than it was asked for', [{ length: 2 * length }], (hostile) => {
    const { readwrite, readonly } = memfd(hostile, 2 * length)
    return [readwrite, readonly]
  })
  await wrongAnswer('what lies behind the range', [{ offset: length }])
  await wrongAnswer('a part that begins in the middle of a page', [{ fileOffset: 1 }])
  await wrongAnswer('an extent of no length', [{ length: 0 }])
  await wrongAnswer('an offset near 2^53', [{ offset: 2 ** 53 - 4096 }])
  await wrongAnswer('a descriptor that did not come', [{ descriptor: 1 }])
  await wrongAnswer('a descriptor number of 2^32 - 1', [{ descriptor: 0xffff_ffff }])
  await wrongAnswer('a hole to somebody who wants none', [{ descriptor: 0xffff_ffff }], () => [])
  await wrongAnswer('all but the first page', [{ offset: 4096, length: 4096 }])
  await wrongAnswer('memfds that no extent lies in', [{}], (hostile) => [...good(hostile), ...good(hostile)])

  await scene.case(t, 'an agent that shares one page at a time gets its memory attached', async (hostile) => {
    const { segid, agent } = await badOwner(hostile)
    const outcome = await attachOutcome(hostile, segid, async () => {
      const descriptors = good(hostile)
      for (let done = 0; done < length; done += 4096) {
        const share = (await nextAsked(agent, 'share')) as Message & { name: 'share' }
        assert.equal(share.address, BigInt(done))
        const list = rows({ length: 4096, fileOffset: done })
        agent.send('extents', share.request, { rows: list }, descriptors)
      }
    })
    assert.equal(outcome, 'attached')
  })

  await scene.case(
    t,
    'a segment in countless pieces is refused with EFBIG before it slows the others',
    async (hostile) => {
      const bytes = 2 ** 40
      const { segid, agent } = await badOwner(hostile, bytes)
      const descriptors = good(hostile)
      let answered = 0
      const outcome = await attachOutcome(hostile, segid, async (settled) => {
        // Single pages that all lie in the same page of the file, so that no two of them join.
        const list = rows(...Array.from({ length: 2_047 }, (_, page) => ({ offset: page * 4096, length: 4096 })))
        while (answered < 300) {
          const share = await nextAsked(agent, 'share', settled)
          if (settled()) return
          agent.send('extents', share.request, { rows: list }, descriptors)
          answered += 1
          if (answered % 10 === 0) await scene.bystanders.check()
        }
      })
      assert.equal(outcome, 'EFBIG')
      assert(answered <= 20, `${answered} answers were taken`)
    },
  )

  await scene.case(t, 'an agent that never gives memory up is cut off, and its owner gets it back', async (hostile) => {
    const { owner } = scene.bystanders
    const region = await owner.call<number>('allocate', length)
    const { handle, segid } = await owner.call<{ handle: number; segid: bigint }>('make', region, { mode: 0o666 })
    const agent = await hostile.greeted(role.agent)
    const client = await hostile.greeted()
    const got = (await client.request('get', { segid, access: access.readwrite })) as Message & { name: 'got' }
    assert.equal((await client.request('attach', { apid: got.apid, offset: 0, length }))?.name, 'extents')
    await owner.call('remove', handle)
    await agent.whenEnded()
    await client.whenEnded()
    for (const one of [handle, region]) await owner.call('forget', one)
    const again = await hostile.greeted()
    assertFailure(await again.request('get', { segid, access: access.read }), 'ENOENT')
    assert.equal((await again.request('release', { apid: got.apid }))?.name, 'done')
  })

  await scene.case(t, 'a process that says it holds what it never got does not delay its removal', async (hostile) => {
    const { owner } = scene.bystanders
    const region = await owner.call<number>('allocate', length)
    const { handle, segid } = await owner.call<{ handle: number; segid: bigint }>('make', region)
    const agent = await hostile.greeted(role.agent)
    agent.send('held', 0, { rows: [{ segid, ownerPid: owner.pid, ownerStart: 0n, reserved: 0 }] })
    assert.equal((await (await hostile.greeted()).request('ping', {}))?.name, 'done')
    await owner.call('remove', handle)
    agent.poll()
    assert.deepEqual(agent.received, [], 'it was not asked to give it up')
    assert(!agent.ended)
    for (const one of [handle, region]) await owner.call('forget', one)
  })

  await scene.case(t, 'an agent that holds what is gone is asked to give it up piece by piece', async (hostile) => {
    const client = await hostile.greeted()
    const { segid } = (await client.request('make', { address: 0n, length })) as Made
    const agent = await hostile.greeted(role.agent)
    const gone = Array.from({ length: 20 }, (_, index) => segid + BigInt(index + 1))
    agent.send('held', 0, { rows: gone.map((one) => ({ segid: one, ownerPid: 1, ownerStart: 0n, reserved: 0 })) })
    for (const one of gone) {
      await until(async () => {
        assert.equal((await client.request('ping', {}))?.name, 'done')
        agent.poll()
        return agent.received.length > 0
      })
      assert.equal(agent.received.length, 1)
      const revoke = (await nextAsked(agent, 'revoke')) as Message & { name: 'revoke' }
      assert.equal(revoke.segid, one)
      agent.send('done', revoke.request, {})
    }
  })

  await scene.case(
    t,
    'an agent that tells twice of what it put back is cut off, even by two connections',
    async (hostile) => {
      const rows = Array.from({ length: 4_095 }, (_, index) => ({ address: index * 8192, length: 4096 }))
      const first = await hostile.greeted(role.agent)
      first.send('putBack', 0, { rows })
      assert.equal((await (await hostile.greeted()).request('ping', {}))?.name, 'done')
      first.poll()
      assert(!first.ended)
      first.close()
      const again = await hostile.greeted(role.agent)
      again.send('putBack', 0, { rows })
      assertFailure(await again.answer(0), 'EPROTO')
      await again.whenEnded()
    },
  )

  await scene.case(
    t,
    'an agent that tells without end of what it holds is cut off, and memory stays bounded',
    async (hostile) => {
      const before = residentBytes(scene.service.pid)
      const start = startTimeOf(process.ppid) as bigint
      let next = 1n
      for (let round = 0; round < 3; round += 1) {
        const agent = await hostile.greeted(role.agent)
        // A connection that comes and goes must not make the count begin again.
        for (let datagrams = 0; datagrams < 200 && !agent.ended; datagrams += 1) {
          const list = Array.from({ length: 2_000 }, () => {
            next += 1n
            return { segid: (1n << 51n) + next, ownerStart: start, ownerPid: process.ppid, reserved: 0 }
          })
          await until(() => agent.send('held', 0, { rows: list }))
          if (datagrams % 20 === 0) {
            const other = await hostile.greeted()
            other.close()
          }
          agent.poll()
        }
        await agent.whenEnded()
      }
      assert(next < 500_000n, `${next} rows were taken`)
      assert(residentBytes(scene.service.pid) - before < 128 * 2 ** 20)
    },
  )
})
