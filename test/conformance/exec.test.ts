/** What a service hears of an exec that may see little of its clients. */
import assert from 'node:assert/strict'
import { geteuid } from 'node:process'
import { test } from 'node:test'
import { startActor } from '../support/actor.js'
import { startCActor } from '../support/c-actor.js'
import { runtimeDirectory, startService } from '../support/service.js'
import { until } from '../support/until.js'
import type { Got, Made } from './face.js'

test("a service that may not look at its clients' mappings hears of an exec of an owner's", async (t) => {
  if (geteuid?.() !== 0) return t.skip('NOT RUN: only root has a capability to take from a service')
  const runtimeDir = runtimeDirectory(t)
  await startService(t, { runtimeDir, within: ['setpriv', '--bounding-set', '-all'] })
  const owner = await startCActor(t, { runtimeDir })
  const consumer = await startActor(t, { runtimeDir })
  const made = await owner.call<Made>('make', await owner.call<number>('allocate', 4096))
  const permit = await consumer.call<Got>('get', made.segid, 'readwrite')
  const attachment = await consumer.call<number>('attach', permit.handle)
  owner.call('exec', '/bin/cat').catch(() => {})
  await until(() => consumer.events.includes(`revoked:${attachment}:owner-exit`))
  await assert.rejects(consumer.call('get', made.segid), { code: 'ENOENT' })
})
