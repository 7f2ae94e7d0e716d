import { access } from '../wire/schema.js'

/** Who asks, as the kernel told it when the connection was made. */
export interface Credentials {
  readonly uid: number
  readonly gid: number
  /** Supplementary groups. */
  readonly groups: readonly number[]
}

/** What a segment says of its owner. */
export interface Ownership {
  readonly uid: number
  readonly gid: number
  /** Permission bits, 0 to 0777. */
  readonly mode: number
}

const readBit = 4
const writeBit = 2

function classBits(who: Credentials, what: Ownership): number {
  if (who.uid === what.uid) return what.mode >> 6
  if (who.gid === what.gid || who.groups.includes(what.gid)) return what.mode >> 3
  return what.mode
}

/**
 * Whether the mode bits allow it, by the rules of System V IPC (svipc(7), "IPC permissions"): the
 * bits of the first class that fits count, owner before group before other, and no later class
 * makes up for what an earlier one refuses. CAP_IPC_OWNER, which passes, is the caller's to ask.
 */
export function modeAllows(who: Credentials, what: Ownership, wanted: number): boolean {
  const needed = wanted === access.readwrite ? readBit | writeBit : readBit
  return (classBits(who, what) & needed) === needed
}
