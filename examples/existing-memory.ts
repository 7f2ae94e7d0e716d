/**
 * Memory that exists already is shared where it is: here that of a WebAssembly module, while it is
 * being written.
 * Run it: node dist/examples/existing-memory.js
 */
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { formatId, Partition } from 'xpmem'

/** The part of the global that is needed here; @types/node has none of it. */
declare const WebAssembly: { Memory: new (limits: { initial: number }) => { readonly buffer: ArrayBuffer } }

async function own(): Promise<void> {
  await using partition = await Partition.open()
  const memory = new WebAssembly.Memory({ initial: 160 })
  const numbers = new Uint32Array(memory.buffer)
  for (let index = 0; index < numbers.length; index += 1) numbers[index] = index

  // Nothing is moved yet: that happens when somebody attaches, and only to the range attached.
  const segment = await partition.make(memory)
  const consumer = fork(fileURLToPath(import.meta.url), [formatId(segment.segid)])
  const exited = once(consumer, 'exit')
  const answered = once(consumer, 'message')

  let turns = 0
  const writing = setInterval(() => {
    turns += 1
    numbers[1] = turns
  }, 1)
  await answered
  clearInterval(writing)
  console.log(`owner: wrote ${turns} times meanwhile, and number 2 is ${numbers[2]} now`)
  assert.equal(numbers[2], 4_294_967_295)
  assert.equal(numbers[0], 0)
  const [code] = await exited
  assert.equal(code, 0)
}

async function consume(segid: string): Promise<void> {
  await using partition = await Partition.open()
  await using permit = await partition.get(segid, 'readwrite')
  using attachment = await permit.attach({ offset: 0, length: 65_536 })
  const numbers = new Uint32Array(attachment.buffer)
  assert.equal(numbers[3], 3)
  const seen = numbers[1]
  while (Atomics.load(numbers, 1) === seen) {
    // The owner's next write shows here as soon as it happens.
  }
  console.log(`consumer: number 1 went from ${seen} to ${numbers[1]}`)
  numbers[2] = 4_294_967_295
  process.send?.('done')
  process.disconnect?.()
}

const segid = process.argv[2]
await (segid === undefined ? own() : consume(segid))
