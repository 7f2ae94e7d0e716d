import { readdirSync, readFileSync } from 'node:fs'
import { until } from './until.js'

/** Stops a process and waits until every thread of it stands still: a signal takes its time. */
export async function stop(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  await until(() =>
    readdirSync(`/proc/${pid}/task`).every((task) =>
      /^State:\s+T/m.test(readFileSync(`/proc/${pid}/task/${task}/status`, 'latin1')),
    ),
  )
}
