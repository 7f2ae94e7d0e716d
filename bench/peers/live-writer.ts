/** A thread that increments random counters until it is told to stop, and then says how often it did. */
import { parentPort, workerData } from 'node:worker_threads'

const turn = 4_096

interface Work {
  readonly counters: Int32Array
  readonly stopFlag: Int32Array
  readonly seed: number
}

const { counters, stopFlag, seed } = workerData as Work

/** One turn with a state of a xorshift generator; the state after it. */
function increment(state: number): number {
  const mask = counters.length - 1
  let random = state
  for (let index = 0; index < turn; index += 1) {
    random ^= random << 13
    random ^= random >>> 17
    random ^= random << 5
    Atomics.add(counters, random & mask, 1)
  }
  return random
}

let writes = 0
parentPort?.postMessage('writing')
for (let state = seed * 0x9e3779b1; Atomics.load(stopFlag, 0) === 0; writes += turn) state = increment(state)
parentPort?.postMessage(writes)
