/** Owner, attacher and service killed at every stage; whoever is left goes on. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import type { Got, Made } from '../conformance/face.js'
import { type Actor, startActor } from '../support/actor.js'
import { runtimeDirectory, startService, type TestService } from '../support/service.js'
import { until } from '../support/until.js'

const victims = ['owner', 'consumer', 'service'] as const
const stages = ['make', 'get', 'attach', 'convert', 'remove'] as const
const moments = ['before', 'during', 'after'] as const

interface Scene {
  readonly owner: Actor
  readonly consumer: Actor
  memory: number
  made: Made
  permit: Got
}

const liveBytes = 64 * 1024 * 1024
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()

/** The call of each stage; the ones before it have been made. */
const calls: Record<(typeof stages)[number], (scene: Scene) => Promise<unknown>> = {
  async make(scene) {
    scene.made = await scene.owner.call<Made>('make', scene.memory)
  },
  async get(scene) {
    scene.permit = await scene.consumer.call<Got>('get', scene.made.segid, 'readwrite')
  },
  attach: ({ consumer, permit }) => consumer.call('attach', permit.handle, { length: 4096 }),
  convert: ({ consumer, permit }) => consumer.call('attach', permit.handle),
  remove: ({ owner, made }) => owner.call('remove', made.handle),
}

async function kill(victim: (typeof victims)[number], scene: Scene, service: TestService): Promise<void> {
  if (victim === 'service') await service.end('SIGKILL')
  else await scene[victim].end('SIGKILL')
}

/** What is left of the scene works with a partner that is new. */
async function goesOn(
  t: TestContext,
  scene: Scene,
  victim: (typeof victims)[number],
  runtimeDir: string,
): Promise<void> {
  const owner = victim === 'owner' ? await startActor(t, { runtimeDir }) : scene.owner
  const consumer = victim === 'consumer' ? await startActor(t, { runtimeDir }) : scene.consumer
  const region = await owner.call<number>('allocate', 4096)
  const made = await owner.call<Made>('make', region)
  const permit = await consumer.call<Got>('get', made.segid, 'readwrite')
  const attachment = await consumer.call<number>('attach', permit.handle)
  await consumer.call('write', attachment, 0, Buffer.from('goes on'))
  assert.equal(text(await owner.call('read', region, 0, 7)), 'goes on')
  await Promise.all(
    [owner, consumer].filter((actor) => actor !== scene.owner && actor !== scene.consumer).map((actor) => actor.end()),
  )
}

for (const victim of victims) {
  test(`the ${victim} killed before, during and after each call leaves the others working`, async (t) => {
    const runtimeDir = runtimeDirectory(t)
    let service = await startService(t, { runtimeDir })
    for (const stage of stages) {
      for (const moment of moments) {
        const owner = await startActor(t, { runtimeDir })
        const consumer = await startActor(t, { runtimeDir })
        const memory = await owner.call<number>('wasm', liveBytes / 65_536)
        await owner.call('write', memory, 123_456, Buffer.from('intact'))
        const scene = { owner, consumer, memory } as unknown as Scene
        for (const earlier of stages.slice(0, stages.indexOf(stage))) await calls[earlier](scene)
        if (moment === 'before') await kill(victim, scene, service)
        const call = calls[stage](scene).then(
          () => undefined,
          (error: NodeJS.ErrnoException) => error,
        )
        if (moment === 'after') await call
        if (moment !== 'before') await kill(victim, scene, service)
        if (victim === 'service') service = await startService(t, { runtimeDir })
        const failure = await call
        if (failure !== undefined) assert.match(`${failure.message} ${failure.code}`, /E[A-Z]+|the actor ended/)
        await goesOn(t, scene, victim, runtimeDir)
        if (victim !== 'owner') assert.equal(text(await owner.call('read', memory, 123_456, 6)), 'intact')
        await Promise.all([owner.end(), consumer.end()])
      }
    }
    const probe = await startActor(t, { runtimeDir })
    await until(async () => (await probe.call<unknown[]>('list')).length === 0)
    await until(() => readdirSync(`/proc/${service.pid}/fd`).length < 40)
  })
}
