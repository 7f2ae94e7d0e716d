import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { Scope } from './scope.js'

function allowedProcessors(): string {
  return /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
}

function setProcessors(list: string, pid = process.pid): void {
  // Of another process all threads; this one's others only collect garbage, and compile.
  const what = pid === process.pid ? '-cp' : '-acp'
  const { error, status, stderr } = spawnSync('taskset', [what, list, `${pid}`], { encoding: 'utf8' })
  if (error !== undefined) throw new Error(`taskset of util-linux is needed: ${error.message}`)
  if (status !== 0) throw new Error(`taskset failed: ${stderr}`)
}

/**
 * Keeps this process, and those it starts from now on, on one processor. Waking a process on another
 * one that sleeps takes several times as long, and the kernel chooses as it likes: round trips can
 * only be compared where all processes share one.
 */
export function pinToOneProcessor(scope: Scope): void {
  const allowed = allowedProcessors()
  setProcessors(/^\d+/.exec(allowed)?.[0] ?? '0')
  scope.defer(() => setProcessors(allowed))
}

/**
 * Keeps this process, and those it starts from now on, on the last processor that it may use. Gives how
 * others are put on the first: two machines, as far as two processors of one can be.
 */
export function pinApart(scope: Scope): (others: readonly number[]) => void {
  const allowed = allowedProcessors()
  const [first, last] = [/^\d+/, /\d+$/].map((one) => one.exec(allowed)?.[0] ?? '0') as [string, string]
  setProcessors(last)
  scope.defer(() => setProcessors(allowed))
  return (others) => {
    for (const pid of others) setProcessors(first, pid)
  }
}
