import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Partition } from '../../src/index.js'
import type { Message } from '../../src/wire/codec.js'
import { access, protocolVersion, role } from '../../src/wire/schema.js'
import { RawClient } from '../support/raw.js'
import { startService } from '../support/service.js'
import { assertFailure, Scene } from './scene.js'

type Got = Message & { name: 'got' }

/** A number that no program of this test process has. */
const otherImage = 7n

const helloAs = (image: bigint, kind: number) => ({ version: protocolVersion, role: kind, image })

async function greet(client: RawClient, image: bigint): Promise<Message | undefined> {
  client.send('hello', 1, helloAs(image, role.control))
  const answer = await client.answer(1)
  client.received.length = 0
  return answer
}

/** A permit of the program that this test process seems to run. */
async function permitOf(client: RawClient): Promise<Got> {
  return (await client.request('get', { segid: 0n, access: access.read, text: 'innocent' })) as Got
}

test('programs that seem to take the place of others in their process', async (t) => {
  const scene = await Scene.start(t)

  await scene.case(
    t,
    'a hello of another program ends the connections and permits of the one before',
    async (hostile) => {
      const first = await hostile.greeted()
      const { apid } = await permitOf(first)
      const second = hostile.client()
      assert.equal((await greet(second, otherImage))?.name, 'welcome')
      await first.whenEnded()
      assertFailure(await second.request('release', { apid }), 'ENOENT')
    },
  )

  await scene.case(t, 'tokens of one program restore nothing for the next', async (hostile) => {
    const first = await hostile.greeted()
    const got = await permitOf(first)
    const { apid, segid, tokenHigh, tokenLow, ownerStart, ownerPid } = got
    const shown = { apid, segid, tokenHigh, tokenLow, ownerStart, ownerPid, access: got.access }
    assert.equal((await first.request('restore', shown))?.name, 'done')
    const second = hostile.client()
    await greet(second, otherImage)
    assertFailure(await second.request('restore', shown), 'EACCES')
  })

  await scene.case(t, 'a connection that is older than the program it says hello to ends nothing', async (hostile) => {
    const late = hostile.client()
    const second = hostile.client()
    await greet(second, otherImage)
    assertFailure(await greet(late, otherImage + 1n), 'ECANCELED')
    await late.whenEnded()
    assert.equal((await second.request('ping', {}))?.name, 'done')
  })

  await scene.case(t, 'a connection that has not said hello outlives the program before', async (hostile) => {
    const first = await hostile.greeted()
    const [second, third] = [hostile.client(), hostile.client()]
    await greet(second, otherImage)
    await first.whenEnded()
    assert.equal((await greet(third, otherImage))?.name, 'welcome')
    assert.equal((await second.request('ping', {}))?.name, 'done')
  })
})

test('another copy of the library in a process that goes on is refused, and the first keeps what it has', async (t) => {
  const { runtimeDir, socket } = await startService(t)
  const partition = await Partition.open({ runtimeDir, autoStart: false })
  t.after(() => partition.close())
  const segment = await partition.make(partition.allocate(4096))
  for (const kind of [role.control, role.agent]) {
    const copy = new RawClient(socket)
    copy.send('hello', 1, helloAs(otherImage, kind))
    assertFailure(await copy.answer(1), 'EEXIST')
    await copy.whenEnded()
    copy.close()
  }
  await (await partition.get(segment.segid)).release()
})
