import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { geteuid } from 'node:process'
import { type TestContext, test } from 'node:test'
import { commandOf, hasIpcOwner } from '../../src/service/processes.js'
import { until } from '../support/until.js'
import { scratch } from './scratch.js'

/** A process that runs until the test ends. */
async function startProcess(t: TestContext, command: string, args: string[]): Promise<number> {
  const child = spawn(command, args, { stdio: ['pipe', 'ignore', 'inherit'] })
  await once(child, 'spawn')
  const exited = once(child, 'exit')
  t.after(async () => {
    child.stdin.end()
    await exited
  })
  return child.pid as number
}

test("a command line is told up to the length asked for, and '' is told of what is not there", async (t) => {
  const pid = await startProcess(t, 'sh', ['-c', 'read nothing', 'ä'.repeat(50_000), 'last'])
  assert.equal(commandOf(pid, 200), `sh -c read nothing ${'ä'.repeat(181)}`)
  assert.equal(commandOf(pid, 5), 'sh -c')
  assert.equal(commandOf(2 ** 22 + 1, 5), '')
})

test('a capability that came with a program that was executed later is not counted', async (t) => {
  const nobody = 65_534
  if (geteuid?.() !== 0) return t.skip('NOT RUN: only root can make a set-user-id program of root')
  const directory = scratch(t)
  const program = join(directory, 'setuid-cat')
  copyFileSync('/bin/cat', program)
  chmodSync(directory, 0o755)
  chmodSync(program, 0o4755)
  assert(hasIpcOwner(await startProcess(t, 'cat', []), 0), 'root has it')
  const as = ['--reuid', `${nobody}`, '--clear-groups']
  const plain = await startProcess(t, 'setpriv', [...as, 'cat'])
  const risen = await startProcess(t, 'setpriv', [...as, program])
  await until(() => commandOf(plain, 3) === 'cat' && commandOf(risen, program.length) === program)
  assert(!hasIpcOwner(plain, nobody))
  assert(!hasIpcOwner(risen, nobody))
  assert(hasIpcOwner(risen, 0), 'it has it now')
})
