import { closeSync, openSync, readFileSync, readlinkSync, readSync, statSync } from 'node:fs'

/**
 * When a process started, in clock ticks since boot (proc(5): field 22 of /proc/pid/stat), which
 * with its pid tells it from every other process. Undefined if it is gone or cannot be seen.
 */
export function startTimeOf(pid: number): bigint | undefined {
  return startTimeIn(`/proc/${pid}/stat`)
}

/** The same of one of its threads, which an exec ends, except that the main thread's number stays. */
export function threadStartTimeOf(pid: number, thread: number): bigint | undefined {
  return startTimeIn(`/proc/${pid}/task/${thread}/stat`)
}

function startTimeIn(path: string): bigint | undefined {
  try {
    const stat = readFileSync(path, 'latin1')
    // The command, field 2, may hold anything, so count from its closing parenthesis.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return BigInt(fields[19] ?? '')
  } catch {
    return undefined
  }
}

/** Bytes of a character at the most. */
const characterBytes = 4

/**
 * The first `length` characters of the command line, words joined by spaces; '' if it cannot be seen.
 * No more of it is read: a process can let it be as long as all of its memory.
 */
export function commandOf(pid: number, length: number): string {
  let file: number | undefined
  try {
    file = openSync(`/proc/${pid}/cmdline`, 'r')
    const bytes = Buffer.alloc(length * characterBytes)
    const text = bytes.toString('utf8', 0, readSync(file, bytes))
    return text.replaceAll('\0', ' ').trim().slice(0, length)
  } catch {
    return ''
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

/** The bit of CAP_IPC_OWNER in a capability set (capabilities(7)). */
const capIpcOwner = 1n << 15n

/**
 * Whether the process, which was user `uid`'s when it connected, has CAP_IPC_OWNER in the user
 * namespace of this service. A capability in another user namespace says nothing here
 * (user_namespaces(7)), and what cannot be seen is no. Nor does one that came with a program that was
 * executed since (set-user-id, file capabilities): what the process asked for, it asked before, and
 * the answer may reach a child. The kernel gives the files of such a process to root (proc(5)).
 */
export function hasIpcOwner(pid: number, uid: number): boolean {
  try {
    if (readlinkSync(`/proc/${pid}/ns/user`) !== readlinkSync('/proc/self/ns/user')) return false
    const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
    if (effective === undefined || (BigInt(`0x${effective}`) & capIpcOwner) === 0n) return false
    return statSync(`/proc/${pid}`).uid === uid
  } catch {
    return false
  }
}

/** Descriptors that this process may have open (RLIMIT_NOFILE, the soft limit). */
export function maxOpenFiles(): number {
  const soft = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft)
}
