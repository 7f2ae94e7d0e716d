/**
 * A C program that offers its whole address space and whose threads allocate, fill, check and free all
 * the time, and three attachers that look at every byte of its live buffers and write in them.
 * XPMEM_STRESS_SECONDS says how long (CI: 60). Ends of buffers share pages with other live memory.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Made } from '../conformance/face.js'
import { startCActor } from '../support/c-actor.js'
import { startService } from '../support/service.js'

const seconds = Number(process.env.XPMEM_STRESS_SECONDS ?? 5)
const main = fileURLToPath(new URL('./attacher-main.js', import.meta.url))

/** How many buffers a TypeScript attacher saw, once it is told to stop. */
async function runTypeScript(t: TestContext, args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  const [said, complained] = await Promise.all([
    child.stdout.toArray(),
    child.stderr.toArray(),
    child.exitCode ?? once(child, 'exit'),
  ])
  assert.equal(complained.join(''), '')
  return Number(said.join(''))
}

test('no byte is wrong, and calloc gives zeros, while a heap is attached everywhere', async (t) => {
  const seed = Number(process.env.XPMEM_STRESS_SEED ?? Date.now() % 100_000)
  t.diagnostic(`XPMEM_STRESS_SEED=${seed}`)
  const { runtimeDir } = await startService(t)
  const owner = await startCActor(t, { runtimeDir })
  const { segid } = await owner.call<Made>('makeEverything')
  const control = await owner.call<bigint>('stressOwner', seed)
  const attachers = [0, 1].map(async (index) => {
    const attacher = await startCActor(t, { runtimeDir })
    return attacher.call<number>('stressAttach', segid, control, index, seed + index)
  })
  attachers.push(runTypeScript(t, [runtimeDir, `${segid}`, `${control}`, '2', `${seed + 2}`]))
  const watched = Promise.allSettled(attachers)
  // The test's length, or until one finds something wrong.
  await Promise.race([pause(1000 * seconds, undefined, { ref: false }), ...attachers.map((run) => run.catch(() => 0))])
  const buffers = await owner.call<number>('stressEnd').catch((error: Error) => error)
  const outcomes = [...(await watched), { status: buffers instanceof Error ? 'rejected' : 'fulfilled', value: buffers }]
  const wrong = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome] : []))
  assert.deepEqual(wrong, [], `with XPMEM_STRESS_SEED=${seed}`)
  const looks = outcomes.map((outcome) => ('value' in outcome ? Number(outcome.value) : 0))
  t.diagnostic(`looks of the attachers and buffers of the owner: ${looks.join(', ')}`)
  for (const count of looks) assert.ok(count > 0)
})
