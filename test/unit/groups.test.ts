import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { Allowance } from '../../src/service/allowance.js'
import { Groups, type ThreadGroup } from '../../src/service/groups.js'
import { startTimeOf } from '../../src/service/processes.js'
import { until } from '../support/until.js'

/** Processes that a service knows, and may keep so many descriptors of beside their pidfds. */
async function groupsOf(t: TestContext, count: number, mayKeep: () => boolean) {
  const allowance = () => ({ files: new Allowance(1), extents: new Allowance(1) })
  const groups = new Groups(allowance, mayKeep, () => {})
  const known: ThreadGroup[] = []
  for (let index = 0; index < count; index += 1) {
    const child = spawn('cat', { stdio: ['pipe', 'ignore', 'inherit'] })
    await once(child, 'spawn')
    const exited = once(child, 'exit')
    t.after(async () => {
      child.stdin.end()
      await exited
    })
    const pid = child.pid as number
    known.push(groups.ofPid(pid, startTimeOf(pid) as bigint) as ThreadGroup)
  }
  t.after(() => groups.close())
  return { groups, known }
}

const openDescriptors = () => readdirSync('/proc/self/fd').length

test('mappings that are kept open count, until their process is let go of', async (t) => {
  const { groups, known } = await groupsOf(t, 2, () => true)
  assert.equal(groups.descriptorCount, 2)
  for (let times = 0; times < 3; times += 1) for (const group of known) assert(group.mappings(0n, 2 ** 47)?.length)
  assert.equal(groups.descriptorCount, 4)
  groups.forget(known[0] as ThreadGroup)
  assert.equal(groups.descriptorCount, 2)
})

test('without room the mappings are looked at and not kept open', async (t) => {
  const { groups, known } = await groupsOf(t, 2, () => groups.descriptorCount < 3)
  const before = openDescriptors()
  for (let times = 0; times < 3; times += 1) for (const group of known) assert(group.mappings(0n, 2 ** 47)?.length)
  assert.equal(groups.descriptorCount, 3)
  assert.equal(openDescriptors(), before + 1)
})

test('of a program whose agent was not seen only the end is told', async (t) => {
  const { known } = await groupsOf(t, 1, () => true)
  const group = known[0] as ThreadGroup
  assert.equal(group.running, undefined)
  group.setAgentThread(2 ** 22 + 1)
  assert.equal(group.running, undefined)
  process.kill(group.pid, 'SIGKILL')
  await until(() => group.running === false)
  await until(() => group.gone)
  assert.equal(group.running, false)
})
