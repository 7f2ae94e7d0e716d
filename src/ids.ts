import { XpmemError } from './errors.js'

/**
 * Identifiers of segments and permits: positive 64-bit integers, as in XPMEM's C interface
 * (`xpmem_segid_t`, `xpmem_apid_t`: signed 64 bits, 0 and below never valid).
 *
 * Bits, from the top: 0, partition (12), incarnation of its service (24), sequence (27). A number
 * is given once, so a stale identifier is ENOENT and never somebody else's memory.
 */
export type SegmentId = bigint & { readonly __segid: unique symbol }
export type PermitId = bigint & { readonly __apid: unique symbol }

const sequenceBits = 27n
const incarnationBits = 24n

export const maxPartitionId = (1 << 12) - 1
export const maxIncarnation = (1 << 24) - 1
export const maxSequence = 2 ** 27 - 1

export interface IdParts {
  readonly partition: number
  readonly incarnation: number
  readonly sequence: number
}

export function packId(parts: IdParts): bigint {
  return (
    (BigInt(parts.partition) << (incarnationBits + sequenceBits)) |
    (BigInt(parts.incarnation) << sequenceBits) |
    BigInt(parts.sequence)
  )
}

export function unpackId(id: bigint): IdParts {
  return {
    partition: Number(id >> (incarnationBits + sequenceBits)),
    incarnation: Number((id >> sequenceBits) & ((1n << incarnationBits) - 1n)),
    sequence: Number(id & ((1n << sequenceBits) - 1n)),
  }
}

/** The identifier as people and the command line write it: `0x…`, 16 digits. */
export function formatId(id: bigint): string {
  return `0x${id.toString(16).padStart(16, '0')}`
}

/** Reads what `formatId` wrote; `undefined` if the text is not a hexadecimal identifier. */
export function parseId(text: string): bigint | undefined {
  return /^0x[0-9a-f]{1,16}$/i.test(text) ? BigInt(text) : undefined
}

const maxId = (1n << 63n) - 1n

/** Whether the number can be an identifier at all; XPMEM answers EINVAL where it cannot. */
export function isId(id: bigint): boolean {
  return id > 0n && id <= maxId
}

export function checkId(id: unknown, call: string, kind: 'segid' | 'apid'): bigint {
  if (typeof id !== 'bigint' || !isId(id)) {
    throw new XpmemError(
      'EINVAL',
      call,
      `${String(id)} is not ${kind === 'apid' ? 'an' : 'a'} ${kind}: give the positive bigint that xpmem returned`,
    )
  }
  return id
}
