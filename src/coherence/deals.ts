import type { Access, Keep } from './terms.js'

/** The node number of home's own threads. */
export const homeItself = 0

export interface Request {
  /** `homeItself` for a thread of home. */
  readonly node: number
  readonly access: Access
}

/** What is asked for one page and cannot be had at once: the first of the queue is being served. */
export interface Deal {
  queue: Request[]
  /** Nodes that were told to invalidate and have not answered. */
  readonly awaited: Set<number>
  /** The node that was recalled and has not answered, or 0. */
  recalled: number
  keep: Keep
  /** The rim was asked to say when the page may be taken. */
  held: boolean
}

export function newDeal(request: Request): Deal {
  return { queue: [request], awaited: new Set(), recalled: 0, keep: 'absent', held: false }
}

/** Whether somebody's answer is outstanding. */
export function isAsking(deal: Deal): boolean {
  return deal.recalled !== 0 || deal.awaited.size > 0
}

/** Whether a wish of home's threads waits already, so that one more changes nothing. */
export function coversFault(deal: Deal, access: Access): boolean {
  return deal.queue.some((request) => request.node === homeItself && (access === 'read' || request.access === 'write'))
}

export function isWaiting(deal: Deal, node: number): boolean {
  return deal.queue.some((request) => request.node === node)
}
