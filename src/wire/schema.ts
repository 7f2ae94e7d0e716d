/**
 * The one definition of every message between a client, an agent and the service.
 *
 * A message is one SOCK_SEQPACKET datagram: a header, the fields in the order written here, and at
 * most one tail that runs to the end of the datagram. All numbers are in the machine's byte order,
 * since both ends run on it. Fields are aligned to their own size without padding; the generated
 * C header (native/core/wire.h) asserts that a C compiler lays them out the same way.
 */

import type { Fields, MessageLayout } from './layout.js'

/** Raised whenever a layout changes; both ends must say the same number. */
export const protocolVersion = 4

/** Bytes of a datagram at the most, header included. */
export const maxMessageBytes = 65_536

/** File descriptors that may travel beside one message. */
export const maxDescriptors = 16

/** Structures that repeat in a tail. */
export const rows = {
  /** A piece of a segment and where it lies: `descriptor` counts pairs or single descriptors sent beside it. */
  extent: { offset: 'size', length: 'size', fileOffset: 'size', descriptor: 'u32', flags: 'u32' },
  /** A segment that a process holds descriptors of, told by its agent after a reconnection. */
  held: { segid: 'u64', ownerStart: 'u64', ownerPid: 'u32', reserved: 'u32' },
  /** What a process has mapped of one segment, told by its agent. */
  holding: { segid: 'u64', bytes: 'size', attachments: 'u32', reserved: 'u32' },
  /** A memfd, by the numbers fstat(2) gives. */
  file: { device: 'u64', inode: 'u64' },
  /** Memory of a process. */
  range: { address: 'size', length: 'size' },
  /** A range of a segment that has earlier content again, which is so old at the most; or `unknownAge`. */
  rollback: { offset: 'size', length: 'size', ageMs: 'size' },
  /** Memory of a process that shows a range of a memfd whose faults the service answers. */
  mapping: {
    address: 'size',
    length: 'size',
    fileOffset: 'size',
    device: 'u64',
    inode: 'u64',
    flags: 'u32',
    reserved: 'u32',
  },
} as const satisfies Record<string, Fields>

export type RowName = keyof typeof rows

/** The `ageMs` of a range of which nobody knows how old it is. */
export const unknownAge = Number.MAX_SAFE_INTEGER

/** Which kind of connection this is, in `hello`. */
export const role = { control: 1, agent: 2 } as const

/** What a permit allows. */
export const access = { read: 1, readwrite: 2 } as const

/** Why a segment is revoked, in `revoke`. */
export const reason = {
  removed: 1,
  ownerExit: 2,
  refused: 3,
  /** The partition where it was made cannot be reached any more. */
  partition: 4,
} as const

/** The `descriptor` of an extent where nothing is mapped: only answers to requests that allow holes have them. */
export const hole = 0xffff_ffff

/** Bits of `got.flags`. */
export const gotFlag = {
  /** Where the segment lies does not change while it exists, so that what an answer said may be kept. */
  stable: 1,
} as const

/** Bits of `attach.flags`. */
export const attachFlag = {
  /** Memory that raises SIGBUS is welcome: holes, and files that somebody may truncate. */
  bus: 1,
} as const

/** Bits of `share.flags`. */
export const shareFlag = {
  /** Where nothing can be read or shared the answer has a hole; without it that is EFAULT. */
  holes: 1,
  /** Goes on where the answer before ended: what is moved belongs together with what was moved then. */
  more: 2,
} as const

/** Bits of an extent's `flags`. */
export const extentFlag = {
  /**
   * The descriptor is of a copy that nobody else sees, kept coherent by the service: it is open for
   * writing, which registering it takes, even where the permit is for reading.
   */
  copy: 1,
  /**
   * Of a hole: something is mapped there that is not shared, for the reason in the upper half
   * (`withheldReason`). An owner tells with `fileOffset` which mapping that is; see native/core/withheld.h.
   */
  withheld: 2,
} as const

/** Where the reason of a withheld hole begins in its `flags`. */
export const withheldShift = 16

/** Why memory is withheld. */
export const withheldReason = {
  kernel: 1,
  text: 2,
  data: 3,
  stack: 4,
  stackEnd: 5,
  own: 6,
  attachment: 7,
  file: 8,
  immovable: 9,
  hidden: 10,
} as const

/** Bits of a mapping's `flags`. */
export const mappingFlag = {
  /** It was mapped with a read-only descriptor, so the kernel does not let its faults be answered. */
  readonly: 1,
} as const

/** Bits of `make.flags`. */
export const makeFlag = {
  /** The memory already lies in a memfd: a read-write and a read-only descriptor of it come along. */
  backed: 1,
} as const

export const messages = {
  // Any connection, first thing.
  hello: {
    code: 1,
    fields: {
      version: 'u32',
      role: 'u32',
      /** A random number of the program that runs in the process; the one that an exec puts in its place has another. */
      image: 'u64',
      /** An agent's thread, as its own process numbers it; 0 on other connections. */
      thread: 'u32',
      reserved: 'u32',
    },
    tail: 'none',
  },
  welcome: {
    code: 2,
    fields: { serviceStart: 'u64', partition: 'u32', incarnation: 'u32' },
    tail: 'text',
  },

  // Answers that serve several requests.
  failure: { code: 3, fields: { errno: 'u32', reserved: 'u32' }, tail: 'text' },
  done: { code: 4, fields: {}, tail: 'none' },
  extents: { code: 5, fields: {}, tail: 'extent' },

  // Control connection, client to service.
  make: {
    code: 16,
    fields: {
      /** 0 asks for a new identifier; otherwise a segment made under an earlier service, with its token. */
      segid: 'u64',
      tokenHigh: 'u64',
      tokenLow: 'u64',
      address: 'u64',
      length: 'size',
      dataLength: 'size',
      fileOffset: 'size',
      mode: 'u32',
      flags: 'u32',
    },
    tail: 'text',
  },
  made: { code: 17, fields: { segid: 'u64', tokenHigh: 'u64', tokenLow: 'u64' }, tail: 'none' },
  /** By segid, or by the name in the tail when segid is 0. */
  get: { code: 18, fields: { segid: 'u64', access: 'u32', reserved: 'u32' }, tail: 'text' },
  got: {
    code: 19,
    fields: {
      apid: 'u64',
      segid: 'u64',
      tokenHigh: 'u64',
      tokenLow: 'u64',
      length: 'size',
      dataLength: 'size',
      ownerStart: 'u64',
      ownerPid: 'u32',
      access: 'u32',
      flags: 'u32',
      reserved: 'u32',
    },
    tail: 'none',
  },
  /** What `got` said of a permit that this process holds. */
  describe: { code: 20, fields: { apid: 'u64' }, tail: 'none' },
  /** A permit given by an earlier service, with what its `got` said. */
  restore: {
    code: 21,
    fields: {
      apid: 'u64',
      segid: 'u64',
      tokenHigh: 'u64',
      tokenLow: 'u64',
      ownerStart: 'u64',
      ownerPid: 'u32',
      access: 'u32',
    },
    tail: 'none',
  },
  /** Answered with extents from the start of the range on, of as much as one message has room for. */
  attach: {
    code: 22,
    fields: { apid: 'u64', offset: 'size', length: 'size', flags: 'u32', reserved: 'u32' },
    tail: 'none',
  },
  /** The process has mapped memory of memfds that its agent was told to arm; done: it may be used. */
  mapped: { code: 30, fields: {}, tail: 'mapping' },
  /**
   * Of memory of this process that the service answers faults in: get its pages before they are used
   * (done: they have come), send home what was changed (done: it is there), or tell what was done.
   */
  prefetch: { code: 31, fields: { address: 'size', length: 'size', access: 'u32', reserved: 'u32' }, tail: 'none' },
  flush: { code: 32, fields: { address: 'size', length: 'size' }, tail: 'none' },
  stats: { code: 33, fields: { address: 'size', length: 'size' }, tail: 'none' },
  counted: {
    code: 34,
    fields: { faults: 'size', pagesIn: 'size', pagesOut: 'size', waitedMicros: 'size' },
    tail: 'none',
  },
  /**
   * To the owner, unasked: pages of its segment have the content again that they had before a
   * partition, which is lost, wrote to them.
   */
  rolledBack: { code: 35, fields: { segid: 'u64' }, tail: 'rollback' },
  /**
   * Copy a range into the memfd that comes along, which is as long; done: it has. A permit that may
   * read is enough, and the memfd is not kept.
   */
  snapshot: { code: 36, fields: { apid: 'u64', offset: 'size', length: 'size' }, tail: 'none' },
  release: { code: 23, fields: { apid: 'u64' }, tail: 'none' },
  remove: { code: 24, fields: { segid: 'u64' }, tail: 'none' },
  list: { code: 25, fields: { cursor: 'u64' }, tail: 'none' },
  /** JSON text of one page; `cursor` is 0 on the last. */
  listing: { code: 26, fields: { cursor: 'u64' }, tail: 'text' },
  /** The partitions that this one may speak with, as JSON text; answered with listing. */
  partitions: { code: 29, fields: {}, tail: 'none' },
  /** The session ends: what it made and got goes with it. Not answered. */
  goodbye: { code: 27, fields: {}, tail: 'none' },
  /** Asks whether the service still turns; answered with done. */
  ping: { code: 28, fields: {}, tail: 'none' },

  // Agent connection, service to agent; the agent answers with extents, done, failure or holdings.
  /**
   * Answered with extents from the start of the range on: of all of it, or as much as one message has
   * room for, or until `most` bytes were moved.
   */
  share: {
    code: 48,
    fields: { address: 'u64', length: 'size', most: 'size', flags: 'u32', reserved: 'u32' },
    tail: 'none',
  },
  revoke: { code: 49, fields: { segid: 'u64', reason: 'u32', reserved: 'u32' }, tail: 'none' },
  /** Put the range in a fresh memfd, so that whoever kept the old one sees nothing more of it. */
  move: { code: 50, fields: { address: 'u64', length: 'size' }, tail: 'none' },
  /**
   * From now on every mapping of the memfd is registered with the agent's userfaultfd (missing and
   * write-protect). The answer hands that over, and tells of those mappings that there are. With a
   * descriptor: a file that holds the last content of pages that were given away, which the agent
   * puts back if the service ends.
   */
  arm: { code: 51, fields: { device: 'u64', inode: 'u64' }, tail: 'none' },
  armed: { code: 52, fields: {}, tail: 'mapping' },
  disarm: { code: 53, fields: { device: 'u64', inode: 'u64' }, tail: 'none' },
  /**
   * Show the memfd that comes along, a copy which the service keeps coherent, in the place of all
   * read-only attachments of this one, whose faults the kernel does not let be answered. Answered as
   * arm.
   */
  copy: { code: 59, fields: { device: 'u64', inode: 'u64' }, tail: 'none' },
  report: { code: 54, fields: {}, tail: 'none' },
  holdings: { code: 55, fields: {}, tail: 'holding' },
  /** Let go of memfds that nothing in the process maps any more. */
  trim: { code: 57, fields: {}, tail: 'none' },
  trimmed: { code: 58, fields: {}, tail: 'file' },
  /** Agent to service, after its hello, once per datagram's worth of rows. Not answered. */
  held: { code: 56, fields: {}, tail: 'held' },
  /**
   * Agent to service, after its hello, if the service before was killed: memory of the process whose
   * pages other partitions had for writing, and whose last content known here was put back. Ascending,
   * at most one datagram: where there is more, the last range reaches to the end. Not answered.
   */
  putBack: { code: 60, fields: {}, tail: 'range' },
} as const satisfies Record<string, MessageLayout>

export type MessageName = keyof typeof messages
