import { asXpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'

/** A thread that waits comes back to JavaScript this often, where `terminate` and `process.exit` can end it. */
const sliceMs = 100

/**
 * `Atomics.wait` for memory shared between processes: blocks this thread while the element is
 * `expected`, until another thread of any process wakes it or `timeoutMs` is over. `Atomics.wait`
 * itself takes a SharedArrayBuffer only, and knows the waiters of one process.
 */
export function wait(
  array: Int32Array,
  index: number,
  expected: number,
  timeoutMs = Number.POSITIVE_INFINITY,
): 'ok' | 'not-equal' | 'timed-out' {
  const deadline = performance.now() + timeoutMs
  try {
    for (;;) {
      const leftMs = Math.max(0, deadline - performance.now())
      const outcome = kernel.futexWait(array, index, expected, Math.min(leftMs, sliceMs))
      if (outcome !== 'timed-out' || leftMs <= sliceMs) return outcome
    }
  } catch (error) {
    throw asXpmemError(error, 'wait')
  }
}

/** `Atomics.notify` likewise: wakes up to `count` waiters of any process; how many there were. */
export function notify(array: Int32Array, index: number, count = 2 ** 31 - 1): number {
  try {
    return kernel.futexWake(array, index, count)
  } catch (error) {
    throw asXpmemError(error, 'notify')
  }
}
