import { asXpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'

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
  try {
    return kernel.futexWait(array, index, expected, Number.isFinite(timeoutMs) ? Math.max(0, timeoutMs) : -1)
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
