import { kernel } from '../../src/kernel/index.js'

/** Seconds to load the first word, which must be that, and to store the next one. */
function turn(words: Int32Array, expected: number): number {
  const start = performance.now()
  const found = Atomics.load(words, 0)
  Atomics.store(words, 0, expected + 1)
  const seconds = (performance.now() - start) / 1_000
  if (found !== expected) throw new Error(`the other partition wrote ${expected}, and ${found} was found`)
  return seconds
}

/** How long the other side may take. */
const patienceMs = 10_000

/**
 * Takes every other turn with the word, those from `first` on, and gives the seconds of each. Whose
 * turn it is, is told by a futex of ordinary shared memory, in which who waits sleeps.
 */
export function takeTurns(words: Int32Array, whose: Int32Array, first: number, count: number): number[] {
  const times: number[] = []
  for (let at = first; times.length < count; at += 2) {
    for (let now = Atomics.load(whose, 0); now !== at; now = Atomics.load(whose, 0)) {
      if (kernel.futexWait(whose, 0, now, patienceMs) === 'timed-out') throw new Error('the other side is silent')
    }
    times.push(turn(words, at))
    Atomics.store(whose, 0, at + 1)
    kernel.futexWake(whose, 0, 1)
  }
  return times
}
