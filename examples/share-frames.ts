/**
 * An owner writes frames of numbers; another process reads and changes them in place.
 * Run it: node dist/examples/share-frames.js
 */
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Partition } from 'xpmem'

const valuesPerFrame = 1024
const frames = 64

async function own(): Promise<void> {
  await using partition = await Partition.open()
  const region = partition.allocate(frames * valuesPerFrame * Float32Array.BYTES_PER_ELEMENT)
  const values = new Float32Array(region)
  for (let frame = 0; frame < frames; frame += 1) values.fill(frame, frame * valuesPerFrame)
  const name = `frames-${process.pid}`
  const segment = await partition.make(region, { name, mode: 0o600 })
  console.log(`owner ${process.pid}: ${region.byteLength} bytes are offered as '${name}'`)

  const consumer = fork(fileURLToPath(import.meta.url), [name])
  const exited = once(consumer, 'exit')
  await once(consumer, 'message')
  console.log(`owner ${process.pid}: frame 3 holds ${values[3 * valuesPerFrame]} now`)
  assert.equal(values[3 * valuesPerFrame], -3)

  await segment.remove()
  console.log(`owner ${process.pid}: removed; nobody else can see the memory any more`)
  const [code] = await exited
  assert.equal(code, 0)
}

async function consume(name: string): Promise<void> {
  await using partition = await Partition.open()
  await using permit = await partition.get(name, 'readwrite')
  using attachment = await permit.attach()
  const values = new Float32Array(attachment.buffer)
  console.log(`consumer ${process.pid}: frame 3 holds ${values[3 * valuesPerFrame]}`)
  values.fill(-3, 3 * valuesPerFrame, 4 * valuesPerFrame)

  const revoked = once(attachment, 'revoked')
  process.send?.('changed')
  process.disconnect?.()
  // Waiting for an event does not keep a process alive; a timer does.
  const alive = setInterval(() => {}, 1_000)
  const [why] = await revoked
  clearInterval(alive)
  console.log(`consumer ${process.pid}: revoked (${why}); the view has ${values.length} values now`)
  assert.equal(values.length, 0)
}

const name = process.argv[2]
await (name === undefined ? own() : consume(name))
