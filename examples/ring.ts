/**
 * A ring of messages in shared memory, one writer and one reader in two processes. Who has nothing
 * to do sleeps in the kernel (a futex) until the other wakes it: `wait` and `notify`.
 * Run it: node dist/examples/ring.js
 */
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { formatId, notify, Partition, wait } from 'xpmem'

const slots = 16
const messages = 100_000

/** Words at the start of the memory; the slots follow. */
const written = 0
const read = 1
const firstSlot = 16

const regionBytes = 4096

/** Waits until the counter is no longer `seen`; its new value. */
function past(words: Int32Array, counter: number, seen: number): number {
  for (;;) {
    const now = Atomics.load(words, counter)
    if (now !== seen) return now
    wait(words, counter, seen)
  }
}

function produce(words: Int32Array): void {
  let freedUpTo = 0
  for (let number = 0; number < messages; number += 1) {
    while (number - freedUpTo >= slots) freedUpTo = past(words, read, freedUpTo)
    words[firstSlot + (number % slots)] = number * 3
    Atomics.store(words, written, number + 1)
    notify(words, written, 1)
  }
}

function consume(words: Int32Array): number {
  let sum = 0
  let writtenUpTo = 0
  for (let number = 0; number < messages; number += 1) {
    while (number >= writtenUpTo) writtenUpTo = past(words, written, writtenUpTo)
    sum += words[firstSlot + (number % slots)] as number
    Atomics.store(words, read, number + 1)
    notify(words, read, 1)
  }
  return sum
}

async function own(): Promise<void> {
  await using partition = await Partition.open()
  const region = partition.allocate(regionBytes)
  const segment = await partition.make(region)
  const consumer = fork(fileURLToPath(import.meta.url), [formatId(segment.segid)])
  const exited = once(consumer, 'exit')
  // The consumer attaches before this thread gives itself to the ring.
  await once(consumer, 'message')
  produce(new Int32Array(region))
  const [code] = await exited
  assert.equal(code, 0)
}

async function attach(segid: string): Promise<void> {
  await using partition = await Partition.open()
  await using permit = await partition.get(segid, 'readwrite')
  using attachment = await permit.attach()
  process.send?.('attached')
  process.disconnect?.()
  const sum = consume(new Int32Array(attachment.buffer))
  console.log(`${messages} messages came, their sum is ${sum}`)
  assert.equal(sum, (3 * messages * (messages - 1)) / 2)
}

const segid = process.argv[2]
await (segid === undefined ? own() : attach(segid))
