import type { GroupId, SessionId } from '../service/registry.js'
import type { Asker } from '../service/sharing.js'
import type { Link } from '../xpc/link.js'

/**
 * A partition while its link is active. In the registry it is like a process: it owns the segments
 * that processes here have got from it, and holds permits on those that it has got from here.
 */
export interface Peer {
  readonly link: Link
  readonly partition: number
  readonly group: GroupId
  readonly session: SessionId
  /** Who asks for its processes. */
  readonly asker: Asker
  /** Pages whose content came from the partition or went there, since this service started. */
  readonly counters: { pagesIn: number; pagesOut: number }
}
