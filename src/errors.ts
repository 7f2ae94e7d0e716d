import { constants } from 'node:os'

/** The errno names that xpmem's calls can fail with. */
export type ErrorCode =
  | 'EACCES'
  | 'EAGAIN'
  | 'EBADF'
  | 'EBUSY'
  | 'ECANCELED'
  | 'ECONNREFUSED'
  | 'ECONNRESET'
  | 'EEXIST'
  | 'EFAULT'
  | 'EFBIG'
  | 'EHOSTUNREACH'
  | 'EINVAL'
  | 'EMFILE'
  | 'ENAMETOOLONG'
  | 'ENOENT'
  | 'ENOMEM'
  | 'ENOTSUP'
  | 'EPERM'
  | 'EPROTO'
  | 'ESRCH'
  | 'ETIMEDOUT'

/** errno values that Node's table lacks, from Linux's asm-generic/errno.h. */
const errnoByCode: Record<string, number> = { ...constants.errno }

const codeByErrno = new Map(Object.entries(errnoByCode).map(([code, errno]) => [errno, code]))
// EAGAIN and EWOULDBLOCK, ENOTSUP and EOPNOTSUPP share a number on Linux.
codeByErrno.set(constants.errno.EAGAIN, 'EAGAIN')
codeByErrno.set(constants.errno.ENOTSUP, 'ENOTSUP')

export function errnoOf(code: ErrorCode): number {
  return errnoByCode[code] ?? constants.errno.EINVAL
}

/** The name of an errno value; EPROTO for one that no call of xpmem gives. */
export function codeOf(errno: number): ErrorCode {
  return (codeByErrno.get(errno) ?? 'EPROTO') as ErrorCode
}

/** Every failure of a call: `code` and `errno` say what, `call` says where, the message says what to do. */
export class XpmemError extends Error {
  override readonly name = 'XpmemError'
  readonly code: ErrorCode
  /** The positive errno value of `code`. */
  readonly errno: number
  /** The call that failed: 'make', 'get', 'attach', … */
  readonly call: string
  /** What is wrong and what to do: the message without the call and the code. */
  readonly reason: string

  constructor(code: ErrorCode, call: string, reason: string, options?: ErrorOptions) {
    super(`${call}: ${reason} (${code})`, options)
    this.code = code
    this.reason = reason
    this.errno = errnoOf(code)
    this.call = call
  }
}

/** Turns an error of the kernel face, or anything else, into an `XpmemError` of this call. */
export function asXpmemError(error: unknown, call: string): XpmemError {
  if (error instanceof XpmemError)
    return error.call === call ? error : new XpmemError(error.code, call, error.reason, { cause: error })
  const { code, message, syscall } = error as { code?: unknown; message?: unknown; syscall?: unknown }
  const known = typeof code === 'string' && code in errnoByCode ? (code as ErrorCode) : undefined
  // The kernel face's messages begin with the name of the system call or function.
  const text = String(message || allMessages(error) || error)
  const reason = typeof syscall === 'string' && syscall === call ? text.slice(syscall.length + 2) : text
  return new XpmemError(known ?? (error instanceof TypeError ? 'EINVAL' : 'EPROTO'), call, reason, { cause: error })
}

/** A host with several addresses fails with an error for each, under one that says nothing. */
function allMessages(error: unknown): string {
  return error instanceof AggregateError ? error.errors.map((one) => String(one?.message ?? one)).join(', ') : ''
}
