/**
 * What an attachment shows when its owner's process ends is the consumer's choice: nothing, with a
 * `revoked` event, or the last content.
 * Run it: node dist/examples/owner-exit.js
 */
import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { formatId, Partition } from 'xpmem'

async function consume(): Promise<void> {
  const owner: ChildProcess = fork(fileURLToPath(import.meta.url), ['owner'])
  const exited = once(owner, 'exit')
  const [segid] = (await once(owner, 'message')) as [string]

  await using partition = await Partition.open()
  await using permit = await partition.get(segid)
  using revocable = await permit.attach()
  using kept = await permit.attach({ onOwnerExit: 'keep' })
  const revoked = once(revocable, 'revoked')

  owner.kill('SIGKILL')
  await exited
  const alive = setInterval(() => {}, 1_000)
  const [why] = await revoked
  clearInterval(alive)
  console.log(`the first attachment is revoked (${why}) and has ${revocable.buffer.byteLength} bytes`)
  assert.equal(revocable.buffer.byteLength, 0)
  const text = Buffer.from(kept.buffer, 0, 9).toString()
  console.log(`the second still shows '${text}'`)
  assert.equal(text, 'last word')
}

async function own(): Promise<void> {
  const partition = await Partition.open()
  const segment = await partition.make(Partition.copyOf(Buffer.from('last word')))
  process.send?.(formatId(segment.segid))
}

await (process.argv[2] === 'owner' ? own() : consume())
