import { readFileSync, readlinkSync } from 'node:fs'

/**
 * When a process started, in clock ticks since boot (proc(5): field 22 of /proc/pid/stat), which
 * with its pid tells it from every other process. Undefined if it is gone or cannot be seen.
 */
export function startTimeOf(pid: number): bigint | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The command, field 2, may hold anything, so count from its closing parenthesis.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return BigInt(fields[19] ?? '')
  } catch {
    return undefined
  }
}

/** The command line, words joined by spaces; '' if it cannot be seen. */
export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
  } catch {
    return ''
  }
}

/** The bit of CAP_IPC_OWNER in a capability set (capabilities(7)). */
const capIpcOwner = 1n << 15n

/**
 * Whether the process has CAP_IPC_OWNER in the user namespace of this service. A capability in
 * another user namespace says nothing here (user_namespaces(7)), and what cannot be seen is no.
 */
export function hasIpcOwner(pid: number): boolean {
  try {
    if (readlinkSync(`/proc/${pid}/ns/user`) !== readlinkSync('/proc/self/ns/user')) return false
    const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
    return effective !== undefined && (BigInt(`0x${effective}`) & capIpcOwner) !== 0n
  } catch {
    return false
  }
}

/** Descriptors that this process may have open (RLIMIT_NOFILE, the soft limit). */
export function maxOpenFiles(): number {
  const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft)
}
