import { XpmemError } from '../errors.js'

/** What a thread or a node wants to do with a page. */
export type Access = 'read' | 'write'

/**
 * How a node gets a page: as one of several that read it, or as the only one that has it. 'clean': the
 * only one, and home can tell whether it stores to it.
 */
export type Share = 'shared' | 'exclusive' | 'clean'

/** What a node that is recalled may keep. */
export type Keep = 'shared' | 'absent'

/**
 * What an answer to a recall carries. 'unchanged': nothing, since home has the content aside; 'already':
 * nothing, since it went ahead of the answer in a put.
 */
export type Returned = 'content' | 'unchanged' | 'already'

/** Why a node puts pages. 'flush': it stays the writer; 'evict': it has them no more. */
export type Put = 'flush' | 'evict'

/** How pages come into memory: 'protected' ones are marked in every mapping before they can be seen. */
export type Placing = 'writable' | 'protected'

/** Numbers of nodes and of sharer sets have so many bits. */
export const valueBits = 26

/** Per-page state is allocated for so many pages at a time, when one of them is first used. */
export const pagesPerChunk = 1 << 16

export function violation(call: string, reason: string): never {
  throw new XpmemError('EPROTO', call, reason)
}

/** What came over the link must lie in the file. */
export function checkRange(call: string, first: number, count: number, pageCount: number): void {
  const whole = Number.isSafeInteger(first) && Number.isSafeInteger(count)
  if (!whole || first < 0 || count < 1 || first + count > pageCount)
    violation(call, `pages ${first}+${count} are not in a file of ${pageCount} pages`)
}
