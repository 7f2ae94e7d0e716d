/** Descriptors whose close waits for whoever sent them. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { encodeOwn } from '../../src/wire/codec.js'
import { makeFlag, maxDescriptors, protocolVersion, role } from '../../src/wire/schema.js'
import { until } from '../support/until.js'
import { descriptorCount, Hostile, Scene } from './scene.js'

const script = fileURLToPath(new URL('../../../test/hostile/slow-close.py', import.meta.url))
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const hello = (kind: number) => hex(encodeOwn('hello', 1, { version: protocolVersion, role: kind }))

interface Slow {
  readonly message: Uint8Array
  readonly kind?: number
  /** Goes first, so that the message may lie unread when the connection ends. */
  readonly before?: Uint8Array
  /** Descriptors in the message ahead of the slow one. */
  readonly others?: number
  readonly count?: number
}

/** A process that has sent what takes until it ends to close. */
async function sendSlow(hostile: Hostile, slow: Slow): Promise<void> {
  const { service } = hostile.scene
  const args = [script, service.socket, hello(slow.kind ?? role.control), hex(slow.message)]
  const numbers = [slow.others ?? 0, slow.count ?? 1].map(String)
  // Stopped, it finds all of it at once, and the sender's own descriptors closed.
  service.child.kill('SIGSTOP')
  const sender = spawn('python3', [...args, hex(slow.before ?? new Uint8Array()), ...numbers], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const exited = once(sender, 'exit')
  hostile.after(async () => {
    sender.stdin.end()
    await exited
  })
  await Promise.race([once(sender.stdout, 'data'), exited])
  assert.equal(sender.exitCode, null, 'the sender ended')
  service.child.kill('SIGCONT')
}

/** The service has read what was sent, and goes on. */
async function checkTurns(hostile: Hostile): Promise<void> {
  const client = await hostile.greeted()
  for (let times = 0; times < 50; times += 1) assert.equal((await client.request('ping', {}))?.name, 'done')
}

test('descriptors whose close does not end', async (t) => {
  const scene = await Scene.start(t)
  const ping = encodeOwn('ping', 2, {})

  const held = (name: string, slow: Slow) =>
    scene.case(t, `a socket that lingers ${name} does not hold the service up`, async (hostile) => {
      await sendSlow(hostile, slow)
      await checkTurns(hostile)
      await scene.bystanders.check()
    })
  await held('beside a request that brings none', { message: ping })
  await held('beside a make', { message: encodeOwn('make', 2, { length: 4096, flags: makeFlag.backed }), others: 1 })
  await held('beside what an agent says', { message: encodeOwn('done', 2, {}), kind: role.agent })
  await held('beside garbage', { message: Uint8Array.of(1, 2, 3) })
  await held('behind as many descriptors as a message may have', { message: ping, others: maxDescriptors })
  await held('and lies unread when its connection ends', { message: ping, before: Uint8Array.of(0) })

  await scene.case(t, 'a process that sends many such is not read from, and others are', async (hostile) => {
    await sendSlow(hostile, { message: encodeOwn('done', 2, {}), kind: role.agent, count: 60 })
    await checkTurns(hostile)
    assert(descriptorCount(scene.service.pid) < scene.descriptorsAtRest + 40)
    await scene.bystanders.check()
  })

  await scene.case(t, 'a process that sent much that closes at once goes on', async (hostile) => {
    const agent = await hostile.greeted(role.agent)
    const client = await hostile.greeted()
    const sockets = Array.from({ length: maxDescriptors }, () => client.socket)
    for (let times = 0; times < 100; times += 1) await until(() => agent.send('done', times, {}, sockets))
    assert.equal((await client.request('ping', {}))?.name, 'done')
  })
})

test('a service that has closes under way which do not end ends when it is told to', async (t) => {
  const scene = await Scene.start(t)
  const hostile = new Hostile(scene)
  t.after(() => hostile.end())
  await sendSlow(hostile, { message: encodeOwn('ping', 2, {}) })
  await checkTurns(hostile)
  await Promise.all([scene.bystanders.owner.end(), scene.bystanders.consumer.end()])
  await scene.service.end('SIGTERM')
  assert.equal(scene.service.child.exitCode, 0)
})
