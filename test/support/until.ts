import { setTimeout as sleep } from 'node:timers/promises'

/** Waits until the condition holds; the test's watchdog ends what never does. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(2)
}
