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

/** How many buffers a C attacher saw, once it is told to stop. */
async function runC(t: TestContext, runtimeDir: string, args: readonly unknown[]): Promise<number> {
  const attacher = await startCActor(t, { runtimeDir, env: { XPMEM_DEBUG: '1' } })
  try {
    return await attacher.call<number>('stressAttach', ...args)
  } catch (error) {
    const said = attacher.complaints().trim().split('\n').at(-1)
    throw new Error(`${(error as Error).message} (it said last: ${said})`)
  }
}

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

async function stress(t: TestContext, margin: number): Promise<void> {
  const seed = Number(process.env.XPMEM_STRESS_SEED ?? Date.now() % 100_000)
  t.diagnostic(`XPMEM_STRESS_SEED=${seed}`)
  const { runtimeDir } = await startService(t)
  const owner = await startCActor(t, { runtimeDir })
  const { segid } = await owner.call<Made>('makeEverything')
  const control = await owner.call<bigint>('stressOwner', seed)
  const attachers = [0, 1].map((index) => runC(t, runtimeDir, [segid, control, index, seed + index, { margin }]))
  attachers.push(runTypeScript(t, [runtimeDir, `${segid}`, `${control}`, '2', `${seed + 2}`]))
  const watched = Promise.allSettled(attachers)
  // The test's length, or until one finds something wrong.
  await Promise.race([pause(1000 * seconds, undefined, { ref: false }), ...attachers.map((run) => run.catch(() => 0))])
  const ended = Promise.allSettled([owner.call<number>('stressEnd')])
  const outcomes = [...(await watched), ...(await ended)]
  const wrong = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome] : []))
  assert.deepEqual(
    wrong.map(({ reason }) => `${reason}`),
    [],
    `with XPMEM_STRESS_SEED=${seed}`,
  )
  const looks = outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value : 0))
  t.diagnostic(`looks of the attachers and buffers of the owner: ${looks.join(', ')}`)
  for (const count of looks) assert.ok(count > 0)
}

test('no byte is wrong, and calloc gives zeros, while buffers of a busy heap are attached', (t) => stress(t, 0))

/** Run it by name when this is worked on: it finds a wrong byte in some runs. */
const known =
  'not solved: memory that the owner unmaps, and maps anew in another thread, in the microseconds in which the ' +
  "agent's mapping replaces it, is overwritten (docs/libxpmem.md, known differences)"
console.log(`NOT RUN, a stress test of memory around live buffers: ${known}`)

test(
  'no byte is wrong, and calloc gives zeros, while buffers are attached with what lies around them',
  {
    skip: known,
  },
  (t) => stress(t, 2 ** 20),
)
