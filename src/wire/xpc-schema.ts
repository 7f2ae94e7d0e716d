/**
 * The one definition of every message between the services of two partitions (XPC).
 *
 * A message is a frame in a TCP stream: its length as u32, then what `schema.ts` says of a message,
 * header, fields and tail. All numbers are little-endian, since the two machines may differ.
 */
import type { Fields, MessageLayout } from './layout.js'
import { SchemaCodec } from './schema-codec.js'

/** Raised whenever a layout or its meaning changes; both ends must say the same number. */
export const xpcVersion = 2

/** Bytes of the length before each message. */
export const frameHeaderBytes = 4

/** Pages that one message carries at the most. */
export const maxPagesPerMessage = 256

/** Bytes of a message at the most, header included: the pages, and room for the fields before them. */
export const maxFrameBytes = maxPagesPerMessage * 4_096 + 64

/** Bits of `get.flags`. */
export const xpcGetFlag = {
  /** The process has CAP_IPC_OWNER over there. */
  ipcOwner: 1,
} as const

/** Supplementary groups that are told at the most; Linux allows a process 65,536. */
export const maxGroupsTold = 65_536

export const xpcRows = {
  /** A supplementary group of the process that asks. */
  group: { gid: 'u32', reserved: 'u32' },
  /**
   * A piece of a segment and where it lies at home: a range of the file that has the number there, or
   * of none.
   */
  place: { offset: 'size', length: 'size', fileOffset: 'size', fileLength: 'size', file: 'u32', reserved: 'u32' },
} as const satisfies Record<string, Fields>

/** Which pages of which file, of which cache, and how. */
const pages = {
  file: 'u32',
  cache: 'u32',
  first: 'u32',
  count: 'u32',
  way: 'u32',
  reserved: 'u32',
} as const satisfies Fields

/** Values of `way`. */
export const share = { shared: 1, exclusive: 2, clean: 3 } as const
export const keep = { shared: 1, absent: 2 } as const
export const returned = { content: 1, already: 2, unchanged: 3 } as const
export const put = { flush: 1, evict: 2 } as const

/** The `file` of a place where nothing is mapped in the owner. */
export const noFile = 0xffff_ffff

/** Bits of `got.flags`. */
export const xpcGotFlag = {
  /** Where the segment lies does not change while it exists. */
  stable: 1,
} as const

/** Bits of `attach.flags`. */
export const xpcAttachFlag = {
  /** Holes are welcome. */
  holes: 1,
} as const

export const xpcMessages = {
  // Both ends, first thing; the text is the partition's name.
  hello: { code: 1, fields: { version: 'u32', partition: 'u32', incarnation: 'u32', reserved: 'u32' }, tail: 'text' },
  /** The last word before the connection is closed. */
  refuse: { code: 2, fields: { errno: 'u32', reserved: 'u32' }, tail: 'text' },
  ping: { code: 3, fields: {}, tail: 'none' },
  pong: { code: 4, fields: {}, tail: 'none' },

  // Answers that serve several requests.
  failure: { code: 5, fields: { errno: 'u32', reserved: 'u32' }, tail: 'text' },
  done: { code: 6, fields: {}, tail: 'none' },

  /** The segment of a name; answered with found. */
  find: { code: 16, fields: {}, tail: 'text' },
  found: { code: 17, fields: { segid: 'u64' }, tail: 'none' },
  /** A permit for a process of the asking partition, whose identity it vouches for; answered with got. */
  get: { code: 18, fields: { segid: 'u64', access: 'u32', uid: 'u32', gid: 'u32', flags: 'u32' }, tail: 'group' },
  got: {
    code: 19,
    fields: { apid: 'u64', segid: 'u64', length: 'size', dataLength: 'size', access: 'u32', flags: 'u32' },
    tail: 'none',
  },
  /** Not answered. */
  release: { code: 20, fields: { apid: 'u64' }, tail: 'none' },
  /**
   * Where a range lies, for the cache of that number: from now on it may ask for pages of the files
   * that lie in the range. Answered with places, from the start of the range on.
   */
  attach: {
    code: 22,
    fields: { apid: 'u64', offset: 'size', length: 'size', cache: 'u32', flags: 'u32' },
    tail: 'none',
  },
  places: { code: 23, fields: {}, tail: 'place' },
  /** The cache has nothing of a file any more. Not answered. */
  leave: { code: 24, fields: { file: 'u32', cache: 'u32' }, tail: 'none' },
  /** The content of a range, of as much as a message carries, each page as it was at one moment. */
  peek: { code: 26, fields: { apid: 'u64', offset: 'size', length: 'size' }, tail: 'none' },
  peeked: { code: 27, fields: {}, tail: 'bytes' },
  /** Answered with done when all that was said before has been seen. */
  sync: { code: 25, fields: {}, tail: 'none' },
  /** Home to holder: the segment is gone; answered with done when nobody sees its memory any more. */
  revoke: { code: 21, fields: { segid: 'u64', reason: 'u32', reserved: 'u32' }, tail: 'none' },

  // Pages of a file, between its home and one cache; docs/design/coherence.md.
  read: { code: 32, fields: pages, tail: 'none' },
  write: { code: 33, fields: pages, tail: 'none' },
  /** `way`: `share`. */
  data: { code: 34, fields: pages, tail: 'bytes' },
  grant: { code: 35, fields: pages, tail: 'none' },
  invalidate: { code: 36, fields: pages, tail: 'none' },
  invalidated: { code: 37, fields: pages, tail: 'none' },
  /** `way`: `keep`. */
  recall: { code: 38, fields: pages, tail: 'none' },
  /** `way`: `returned`. */
  returned: { code: 39, fields: pages, tail: 'bytes' },
  /** `way`: `put`. */
  put: { code: 40, fields: pages, tail: 'bytes' },
  dropped: { code: 41, fields: pages, tail: 'none' },
} as const satisfies Record<string, MessageLayout>

export type XpcSchema = { readonly messages: typeof xpcMessages; readonly rows: typeof xpcRows }

export const xpcCodec = new SchemaCodec<XpcSchema>(
  { messages: xpcMessages, rows: xpcRows },
  { littleEndian: true, maxBytes: maxFrameBytes },
)
