import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { Partition } from '../../src/index.js'
import { maxOpenFiles } from '../../src/service/processes.js'
import { role } from '../../src/wire/schema.js'
import { startActor } from '../support/actor.js'
import { until } from '../support/until.js'
import { crowdMain, startCrowd } from './crowd.js'
import { memfd } from './files.js'
import { assertFailure, descriptorCount, Scene } from './scene.js'

/** What one process may have. */
const most = 256

test('crowds of connections', async (t) => {
  const scene = await Scene.start(t)

  // Half of what the service may have open is for connections.
  const enough = maxOpenFiles() >= 8_192
  if (!enough) t.diagnostic('too few open files for 2,000 connections: raise the limit (ulimit -Hn)')
  const crowdCase = enough ? scene.case.bind(scene) : () => {}
  await crowdCase(
    t,
    'two thousand connections of eight processes are held, and others share meanwhile',
    async (hostile) => {
      const outcomes = await Promise.all(Array.from({ length: 8 }, () => startCrowd(hostile, 250)))
      assert.deepEqual(outcomes, Array(8).fill({ welcome: 250, refused: 0, closed: 0 }))
      assert.equal(descriptorCount(scene.service.pid) - scene.descriptorsAtRest, 8 * 251)
      await scene.bystanders.check()
      const actor = await startActor(t, { runtimeDir: scene.service.runtimeDir })
      await actor.call('get', 'innocent', 'read')
      await actor.end()
    },
  )

  await scene.case(
    t,
    'what one process connects beyond its share is refused with EMFILE, and no other process',
    async (hostile) => {
      const { welcome, refused, closed } = await startCrowd(hostile, 2_000)
      assert.deepEqual({ welcome, refused, closed }, { welcome: most, refused: 2_000 - most, closed: 0 })
      assert.equal(descriptorCount(scene.service.pid) - scene.descriptorsAtRest, most + 1)
      await scene.bystanders.check()
    },
  )

  await scene.case(t, 'a connection that closes makes room for another of its process', async (hostile) => {
    const clients = Array.from({ length: most }, () => hostile.client())
    const extra = hostile.client()
    await extra.whenEnded()
    assertFailure(extra.received[0], 'EMFILE')
    clients[7]?.close()
    await until(async () => {
      const next = hostile.client()
      await next.hello()
      return !next.ended
    })
  })

  await scene.case(t, 'a real client that is refused for the crowd in its process says EMFILE', async (hostile) => {
    for (let count = 0; count < most; count += 1) hostile.client()
    const { runtimeDir } = scene.service
    const open = () => Partition.open({ runtimeDir, autoStart: false })
    await assert.rejects(open(), { code: 'EMFILE', call: 'open' })
    // The hello is on its way before the service looks, so that it is refused with words unread.
    scene.service.child.kill('SIGSTOP')
    const refused = assert.rejects(open(), { code: 'EMFILE', call: 'open' })
    await new Promise((resolve) => setImmediate(resolve))
    scene.service.child.kill('SIGCONT')
    await refused
  })

  await scene.case(
    t,
    'processes that connect and leave without end do not keep the others waiting',
    async (hostile) => {
      const script = `
const { RawClient } = await import(${JSON.stringify(new URL('../support/raw.js', import.meta.url).href)})
process.stdout.write('begun')
for (;;) try { new RawClient(process.argv[1]).close() } catch {}`
      const children: ChildProcess[] = [1, 2].map(() =>
        spawn(process.execPath, ['--input-type=module', '-e', script, scene.service.socket], {
          stdio: ['ignore', 'pipe', 'inherit'],
        }),
      )
      for (const child of children) {
        const exited = once(child, 'exit')
        hostile.after(async () => {
          child.kill('SIGKILL')
          await exited
        })
      }
      await Promise.all(children.map((child) => once(child.stdout as NodeJS.ReadableStream, 'data')))
      for (let round = 0; round < 20; round += 1) await scene.bystanders.check()
    },
  )

  await scene.case(t, 'connections killed at any stage leave nothing', async (hostile) => {
    for (let round = 0; round < 3; round += 1) {
      const child = spawn(process.execPath, [crowdMain, scene.service.socket, '100'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      const exited = once(child, 'exit')
      hostile.after(() => exited)
      // While it connects, once it says that it has, and at some moment between.
      if (round === 0) await until(() => descriptorCount(scene.service.pid) > scene.descriptorsAtRest)
      if (round === 1) await once(child.stdout, 'data')
      if (round === 2) await until(() => descriptorCount(scene.service.pid) > scene.descriptorsAtRest + 50)
      child.kill('SIGKILL')
      await exited
    }
  })

  await scene.case(
    t,
    'a client that is cut off between make and get leaves its segment until it ends or removes it',
    async (hostile) => {
      const client = await hostile.greeted()
      const { readwrite, readonly } = memfd(hostile, 4096)
      const make = { address: 0n, length: 4096, flags: 1, mode: 0o600, text: 'left' }
      const made = await client.request('make', make, [readwrite, readonly])
      assert(made?.name === 'made')
      client.sendBytes(Uint8Array.of(1))
      await client.whenEnded()
      const again = await hostile.greeted()
      assert.equal((await again.request('get', { access: 1, text: 'left' }))?.name, 'got')
      assert.equal((await again.request('remove', { segid: made.segid }))?.name, 'done')
    },
  )

  await scene.case(t, 'connections that never say hello are told so and closed', async (hostile) => {
    const clients = Array.from({ length: 20 }, () => hostile.client())
    const talker = await hostile.greeted(role.control)
    for (const client of clients) {
      await client.whenEnded()
      assertFailure(client.received[0], 'ETIMEDOUT')
    }
    assert.equal((await talker.request('ping', {}))?.name, 'done')
  })
})
