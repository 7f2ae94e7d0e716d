/** A service that may have few descriptors, against clients that want them all. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Message } from '../../src/wire/codec.js'
import { makeFlag, maxDescriptors, role } from '../../src/wire/schema.js'
import { startActor } from '../support/actor.js'
import { cliPath, runtimeDirectory, type TestService } from '../support/service.js'
import { until } from '../support/until.js'
import { type Outcome, startCrowd } from './crowd.js'
import { type Memfd, memfd } from './files.js'
import { assertFailure, descriptorCount, type Hostile, Scene } from './scene.js'

const openFiles = 512
const page = 4096
const perMessage = maxDescriptors / 2

type Made = Message & { name: 'made' }
type Got = Message & { name: 'got' }

async function startLimitedService(t: TestContext): Promise<TestService> {
  const runtimeDir = runtimeDirectory(t)
  const args = [`--nofile=${openFiles}`, process.execPath, cliPath, 'serve', '--runtime-dir', runtimeDir]
  const child = spawn('prlimit', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    await exited
  }
  t.after(() => end('SIGTERM'))
  await once(child.stdout, 'data')
  const socket = join(runtimeDir, 'default.sock')
  return { runtimeDir, partition: 'default', socket, child, pid: child.pid as number, end }
}

/** Another process can come, share and go. */
async function checkNewcomer(t: TestContext, scene: Scene): Promise<void> {
  const actor = await startActor(t, { runtimeDir: scene.service.runtimeDir })
  await actor.call('make', await actor.call('allocate', page))
  await actor.end()
}

const pairOf = ({ readwrite, readonly }: Memfd) => [readwrite, readonly]

test('clients that want every descriptor of the service', async (t) => {
  const scene = await Scene.start(t, await startLimitedService(t))

  await scene.case(
    t,
    'a process that makes segments without end is refused with EMFILE, and nobody else is',
    async (hostile) => {
      const client = await hostile.greeted()
      let made = 0
      for (let answer: Message | undefined; answer?.name !== 'failure'; made += 1) {
        const pair = pairOf(memfd(hostile, page))
        answer = await client.request('make', { address: 0n, length: page, mode: 0o600, flags: makeFlag.backed }, pair)
        if (answer?.name === 'failure') assertFailure(answer, 'EMFILE')
        assert(made < openFiles)
      }
      await scene.bystanders.check()
      await checkNewcomer(t, scene)
    },
  )

  await scene.case(
    t,
    'an agent that puts every page in a memfd of its own is refused, and nobody else is',
    async (hostile) => {
      const agent = await hostile.greeted(role.agent)
      const client = await hostile.greeted()
      const length = openFiles * page
      const made = (await client.request('make', { address: 0n, length, mode: 0o600 })) as Made
      const got = (await client.request('get', { segid: made.segid, access: 1 })) as Got
      client.send('attach', 5, { apid: got.apid, offset: 0, length })
      await answerPageByPage(hostile, agent, () => {
        client.poll()
        return client.received.length > 0
      })
      assertFailure(await client.answer(5), 'EMFILE')
      await scene.bystanders.check()
      await checkNewcomer(t, scene)
    },
  )

  await scene.case(
    t,
    'more connections than the service has descriptors for are refused, and nobody is cut off',
    async (hostile) => {
      const outcomes = await Promise.all([1, 2, 3, 4].map(() => startCrowd(hostile, 200)))
      const sum = (of: keyof Outcome) => outcomes.reduce((all, outcome) => all + outcome[of], 0)
      assert.equal(sum('welcome') + sum('refused'), 800)
      assert(descriptorCount(scene.service.pid) <= openFiles / 2 + scene.descriptorsAtRest)
      await scene.bystanders.check()
    },
  )
})

/** Answers what the agent is asked with as many pages and memfds as a message takes. */
async function answerPageByPage(
  hostile: Hostile,
  agent: Awaited<ReturnType<Hostile['greeted']>>,
  done: () => boolean,
): Promise<void> {
  for (;;) {
    await until(() => {
      agent.poll()
      return agent.received.length > 0 || agent.ended || done()
    })
    if (done()) return
    assert(!agent.ended, 'the agent was cut off')
    const share = agent.received.shift() as Message
    const rows = Array.from({ length: perMessage }, (_, descriptor) => {
      return { offset: descriptor * page, length: page, fileOffset: 0, descriptor, flags: 0 }
    })
    const pairs = rows.flatMap(() => pairOf(memfd(hostile, page)))
    agent.send('extents', share.request, { rows }, pairs)
  }
}
