/**
 * What home knows of turns that nodes take with a page: whoever gets it loads from it and then stores
 * to it, as with a lock or a counter. Such a page is given for writing to who only asks to read, which
 * saves the second request of each turn. (Protocols of multiprocessors call it migratory: Cox and
 * Fowler, Stenström et al., both ISCA 1993.)
 *
 * A number from 0 to 7. 0: nothing is known; 1: there was one turn; 2: there were two, and who reads
 * next is given the page in such a way that home learns whether it is stored to; 3: that is on its way;
 * from 4 on it was, and the page is given for writing some more times before that is proved again.
 */
const none = 0
const proofDue = 2
const onProof = 3
const sure = 4
const last = 7

/** A node, or home, that has the page to read asks to write; `others`: how many more have it, without home. */
export function afterUpgrade(turns: number, others: number): number {
  if (others > 1) return none
  return turns < proofDue ? turns + 1 : turns
}

/** Whether who asks to read is given the page for writing. Home's own stores would prove nothing. */
export function areTaken(turns: number, isHome: boolean): boolean {
  return turns >= (isHome ? sure : proofDue)
}

/** Whether home has to learn what becomes of a page that it gives so now. */
export function needProof(turns: number): boolean {
  return turns < sure
}

/** The page is given for writing to a node that asked to read. */
export function afterGiven(turns: number): number {
  if (turns < sure) return onProof
  return turns === last ? proofDue : turns + 1
}

/** It came back. Only on proof does home know that it was not changed since it was given. */
export function afterReturned(turns: number, isChanged: boolean): number {
  if (turns !== onProof) return turns
  return isChanged ? sure : none
}

/** Its node sent what it stored, and keeps it. */
export function afterFlushed(turns: number): number {
  return turns === onProof ? sure : turns
}

/** Its node dropped it, or is gone, which proves nothing. */
export function afterLost(turns: number): number {
  return turns === onProof ? proofDue : turns
}
