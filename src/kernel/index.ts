/**
 * The typed face of the native addon, and its only importer: everything here is mechanism.
 *
 * Addresses are `bigint`, lengths and offsets are `number` in bytes. A call that fails throws an
 * `Error` with `code` ('EACCES'), `errno` (positive) and `syscall`.
 */
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

/** A process at the other end of a socket, as the kernel knows it (SO_PEERCRED, SO_PEERGROUPS). */
export interface Peer {
  readonly pid: number
  readonly uid: number
  readonly gid: number
  readonly groups: readonly number[]
  /** A pidfd of that process, owned by the caller. SO_PEERPIDFD, or pidfd_open before Linux 6.5. */
  readonly pidfd: number
}

/** What a descriptor is. */
export interface DescriptorInfo {
  /** File size in bytes; -1 if it is not a regular file. */
  readonly size: number
  /** Bytes of memory the file takes now. */
  readonly usedBytes: number
  /** F_GET_SEALS; -1 where the file cannot be sealed (so it is no memfd). */
  readonly seals: number
  readonly readable: boolean
  readonly writable: boolean
  /** Same file, same text. */
  readonly identity: string
}

/** A libuv poll handle on a descriptor. It does not own the descriptor. Created unref'ed and stopped. */
export interface Poll {
  /** `events`: 1 readable, 2 writable, or both. Replaces what was watched before. */
  start(events: number): void
  /**
   * From now on what is readable is taken before the callback comes, whose second argument is the
   * outcome: -errno, or how much. Of a socket, as many bytes as there is room for in a Uint8Array from
   * `at` on (0: the end); of a userfaultfd, faults as of `Kernel.faults` in a Float64Array.
   */
  take(into: Uint8Array | Float64Array, at: number): void
  stop(): void
  ref(): void
  unref(): void
  /** Stops for good; no callback comes after it. Idempotent. */
  close(): void
}

/** Where a range of this process's memory lies when xpmem itself mapped it. */
export interface Backing {
  /** Read-write and read-only descriptors of the memfd, owned by the caller. */
  readonly descriptors: readonly [number, number]
  /** Where in the memfd the range begins. */
  readonly fileOffset: number
}

/** Elements of the `meta` of `receive`: three, and as many descriptors as Linux lets one datagram bring. */
export const metaLength = 3 + 253

export interface UserfaultAbility {
  /** 'full': a system call that faults waits; 'user': it fails with EFAULT; 'none'. */
  readonly mode: 'full' | 'user' | 'none'
  /** UFFDIO_API feature bits. */
  readonly features: bigint
  /** The errno name of the refusal of a full userfaultfd, '' where it is given. */
  readonly refusal: string
}

/** What the agent tells an environment. */
export interface AgentEvents {
  /** The agent's connection came up or went down. */
  connected(connected: boolean): void
  /**
   * An attachment of this environment was revoked: it showed zero pages for a moment, and its
   * buffer is detached now. `reason` as in the wire schema.
   */
  revoked(buffer: ArrayBuffer, reason: number): void
}

/** Whose service an agent speaks to: anybody's, or this user's and root's only. */
export const trust = { anybody: 0, ownUser: 1 } as const

/** The number of a process's agent for one service; opened once per environment and service. */
export type AgentHandle = number

/** What the process knows of a permit: its key, and how its segment's owner is told from another process. */
export interface Grant {
  readonly apid: bigint
  readonly segid: bigint
  /** Bytes of the segment. */
  readonly length: number
  readonly writable: boolean
  readonly ownerPid: number
  readonly ownerStart: bigint
  /** Where the segment lies does not change: extents may be kept. */
  readonly stable: boolean
}

/** What an attach request was answered with. */
export interface ExtentsAnswer {
  /** Wire extents. */
  readonly rows: Uint8Array
  readonly descriptors: readonly number[]
}

/** A piece of a process's address space. */
export interface Mapping {
  readonly start: bigint
  readonly end: bigint
  readonly readable: boolean
  readonly shared: boolean
  /** Of the file under it, as in `DescriptorInfo`. */
  readonly identity: string
  readonly fileOffset: number
  /** What an owner that withholds it says of its start. */
  readonly mark: number
}

export interface Kernel {
  readonly pageSize: number
  /** Bytes of a file that `sendWithFile` copies at the most. */
  readonly mostCopied: number

  // Descriptors
  close(descriptor: number): void
  /**
   * Closes a descriptor on a thread of its own, which then writes `number` (4 bytes) to `tell`. False
   * if there can be no thread: nothing happened.
   */
  closeApart(descriptor: number, tell: number, number: number): boolean
  /** The reading and the writing end of a pipe, non-blocking. */
  pipe(): [number, number]
  /** Whether it is one of a file in memory, whose close waits for nobody. */
  isMemory(descriptor: number): boolean
  /** Ends a connection, not its descriptor. False if something lies unread in it, to which nothing is added. */
  hangUp(socket: number): boolean
  /** Opens (creating it 0600, never following a link) and flocks a file; -1 if another process has it. */
  lockFile(path: string): number
  inspect(descriptor: number): DescriptorInfo

  // SOCK_SEQPACKET
  /** Binds a non-blocking listening socket with file mode 0666. */
  listen(path: string, backlog: number): number
  /** A non-blocking connection; EAGAIN if the listener's backlog is full. */
  connect(path: string): number
  /** The next waiting connection, non-blocking, with SO_PASSCRED set; -1 if none waits. */
  accept(listener: number): number
  peer(socket: number): Peer
  /** Sends bytes 0 to `length` of `message` as one datagram. False if it would block. */
  send(socket: number, message: Uint8Array, length: number, descriptors: readonly number[]): boolean
  /**
   * Receives one datagram. Returns its length, 0 at the end of the stream, -1 if none waits.
   * `meta[0]` descriptors received, `meta[1]` 1 if bytes or descriptors were cut off or there are more
   * than a message may have, `meta[2]` the sender's pid if the socket has SO_PASSCRED, else 0, `meta[3…]` the descriptors, now the caller's.
   */
  receive(socket: number, into: Uint8Array, meta: Int32Array): number
  // Timers finer than Node's, which count milliseconds
  /** A timerfd: readable when its time has come. */
  timerOpen(): number
  /** So long from now, once, instead of what was set before. */
  timerSet(timer: number, microseconds: number): void
  /** It is not readable any more. */
  timerClear(timer: number): void

  // Streams
  /** Sends `length` bytes from `offset` on, without waiting. How many; -1: it would wait. `more`: what follows may leave together with it. */
  sendBytes(socket: number, bytes: Uint8Array, offset: number, length: number, more: boolean): number
  /**
   * As `sendBytes`, with a copy of a part of a file behind the bytes, of `mostCopied` bytes at the most.
   * How many of both together. What the file has not is zeros.
   */
  sendWithFile(
    socket: number,
    bytes: Uint8Array,
    offset: number,
    length: number,
    file: number,
    fileOffset: number,
    fileLength: number,
  ): number
  /** Tells the other end that nothing more comes; it may still be listened to. */
  finish(socket: number): void

  poll(descriptor: number, callback: (events: number, taken: number) => void): Poll
  /**
   * Has this datagram sent, and the socket closed, when the environment ends before `forgetFarewell`
   * (a worker that is terminated, a process that exits).
   */
  setFarewell(socket: number, message: Uint8Array): void
  forgetFarewell(socket: number): void

  // Processes
  /** A random number of the program that runs in this process, the same on all of its threads. */
  image(): bigint
  /** A pidfd, or ESRCH. */
  pidfdOpen(pid: number): number
  /** A descriptor for `mappings` of a process; EACCES if this one may not know. */
  mappingsOpen(pid: number): number
  /**
   * The mappings that have some of a range, in ascending order. Undefined if the process is gone, or
   * there are too many.
   */
  mappings(descriptor: number, address: bigint, length: number): Mapping[] | undefined
  /** process_vm_readv: a diagnostic, never a way to share. Returns the bytes read. */
  readProcessMemory(pid: number, address: bigint, into: Uint8Array): number

  // Memory
  /** Fresh shared memory in a sealed memfd, as an ArrayBuffer; unmapped when collected or detached. */
  allocate(length: number, hugePages: boolean): ArrayBuffer
  /** The address of an ArrayBuffer, SharedArrayBuffer or view. 0 for an empty one. */
  addressOf(memory: ArrayBufferLike | ArrayBufferView): bigint
  /** The memfd under a range, if one region of `allocate` holds all of it. */
  backingOf(address: bigint, length: number): Backing | undefined
  userfault(): UserfaultAbility

  // Futex
  /**
   * Blocks this thread until the Int32 at `index` is woken. Returns 'ok', 'not-equal' or 'timed-out'.
   * The array may lie in an attachment, so processes can wait on each other. -1: no time limit.
   */
  futexWait(array: Int32Array, index: number, expected: number, timeoutMs: number): 'ok' | 'not-equal' | 'timed-out'
  /** Wakes up to `count` waiters; how many there were. */
  futexWake(array: Int32Array, index: number, count: number): number

  // The agent
  /**
   * Opens the process's agent for the service at `socketPath`: its thread is started by the first
   * opener and joined by the last closer. It reconnects by itself for as long as it lives. `trust`:
   * whose service it may be, the least that any opener says.
   */
  agentOpen(socketPath: string, trust: number, events: AgentEvents): AgentHandle
  agentClose(agent: AgentHandle): void
  /** Lets the service have `address…` shared, moved or armed through the agent; a number for `withdraw`. */
  offer(agent: AgentHandle, address: bigint, length: number): number
  withdraw(agent: AgentHandle, offer: number): void

  // Permits and attachments of the process
  /** Makes the permit known; nothing happens if it is. Before the first attach request is sent. */
  grantOpen(agent: AgentHandle, grant: Grant): void
  grantOf(agent: AgentHandle, apid: bigint): Grant | undefined
  /**
   * Keeps where parts of a stable segment lie. Takes the descriptors in any case. ENOENT if the
   * segment was revoked meanwhile, EPROTO if a descriptor is not what it must be.
   */
  grantExtents(agent: AgentHandle, apid: bigint, answer: ExtentsAnswer): void
  /** Ends the permit and its attachments, everywhere in the process. Nothing happens if it is unknown. */
  grantClose(agent: AgentHandle, apid: bigint): void
  /**
   * Maps a range of the segment, by the answers to a request that was just made, whose descriptors
   * it takes, or by the extents that are kept: `undefined` if these are not. ENOENT if the segment
   * was revoked. `address` 0n: anywhere; otherwise exactly there, EINVAL if something is mapped.
   */
  attach(
    agent: AgentHandle,
    apid: bigint,
    offset: number,
    length: number,
    address: bigint,
    keepOnOwnerExit: boolean,
    answers?: readonly ExtentsAnswer[],
  ): ArrayBuffer | undefined
  /**
   * Detaches the attachment that `address` lies in. True if there was one; false if nothing is
   * mapped there; EINVAL for memory that is no attachment.
   */
  detach(address: bigint): boolean
  /**
   * What of an attachment the service must be told of before it is used, since it answers faults
   * there: wire mappings from piece `from` on, and where to go on. Undefined: nothing more.
   */
  paged(address: bigint, from: number): { readonly rows: ArrayBuffer; readonly next: number } | undefined

  // Paging. Addresses are numbers here: none of user space has more than 53 bits.
  /**
   * Reads faults that wait, without waiting: pairs of address and kind (1: a store; 2: the page is
   * there but write-protected; 4: memory was moved from there, and the next pair says where to and how
   * many bytes). How many pairs.
   */
  faults(userfault: number, into: Float64Array): number
  /**
   * Makes stores to a range wait, or lets them go on. How many bytes: all, also if its process is gone; 0
   * if some of it is not registered any more, and pages before the first such one have been done; -1 if
   * the process is moving memory, and nothing can be done before `faults` has told of that.
   */
  protect(userfault: number, address: number, length: number, protect: boolean): number
  /**
   * Puts `length` bytes from `from` on of `bytes` where shared memory has holes, mapped at once, and
   * wakes who waits there. How many bytes, which may be less than all; -1 as `protect`; 0 if the first page
   * is not registered any more, or is there, or the process is gone.
   */
  fill(userfault: number, address: number, bytes: Uint8Array, from: number, length: number, protect: boolean): number
  /**
   * Maps pages of a range that the file there has, from the first on, without a fault and write-protected,
   * and wakes who waits there. How many bytes, which may be less than all, or 0: some are mapped, or are
   * not there, or this kernel cannot.
   */
  map(userfault: number, address: number, length: number): number
  /** Lets threads that wait for pages of a range try again, if there are any. */
  wake(userfault: number, address: number, length: number): void
  /** Takes pages out of a memfd, and so out of all its mappings. */
  punch(descriptor: number, offset: number, length: number): void
  /** Puts zero pages into a memfd where it has none. */
  populate(descriptor: number, offset: number, length: number): void
  /** pread and pwrite of all of `length` bytes from `from` on of `bytes`. */
  readAt(descriptor: number, offset: number, bytes: Uint8Array, from: number, length: number): void
  writeAt(descriptor: number, offset: number, bytes: Uint8Array, from: number, length: number): void
  /** Copies `length` bytes from `offset` on of one file to the same place in another. */
  copyPart(from: number, to: number, offset: number, length: number): void
  /** A memfd that nobody can resize, owned by the caller. */
  createFile(length: number): number
  /** Another descriptor of the same file, owned by the caller. */
  duplicate(descriptor: number): number
}

const require = createRequire(import.meta.url)
const load = require('node-gyp-build') as (directory: string) => Kernel

/** The package's root: three levels above dist/src/kernel. */
const root = fileURLToPath(new URL('../../../', import.meta.url))

export const kernel: Kernel = load(root)
