/**
 * The states of a partition as its peer sees it, as in SGI's XPC: nothing is there, a connection is
 * being made, messages go both ways, or what hung on the connection is being taken down.
 */
export type LinkStateName = 'inactive' | 'activating' | 'active' | 'deactivating'

export interface LinkState {
  readonly name: LinkStateName
  /** Why it came to be, for people. */
  readonly reason: string
  readonly sinceMs: number
}

/** What may follow what. A connection that comes in may be taken at once, without one being made from here. */
const followers: Record<LinkStateName, readonly LinkStateName[]> = {
  inactive: ['activating', 'active'],
  activating: ['active', 'inactive'],
  active: ['deactivating'],
  deactivating: ['inactive'],
}

/** The state that follows; an error in this program if it cannot. */
export function follow(state: LinkState, name: LinkStateName, reason: string, nowMs: number): LinkState {
  if (!followers[state.name].includes(name)) throw new Error(`a partition that is ${state.name} cannot become ${name}`)
  return { name, reason, sinceMs: nowMs }
}

/** Who made a connection. */
export type Dialer = 'here' | 'there'

export interface Rivals {
  readonly ownId: number
  readonly peerId: number
  /** The connection that came just now. */
  readonly dialer: Dialer
  /** The one that there is, if any. */
  readonly current: { readonly dialer: Dialer; readonly incarnation: number } | undefined
  readonly incarnation: number
  /** A connection is being made from here. */
  readonly dialing: boolean
}

/**
 * Whether a new connection to a peer takes the place of what there is, so that both ends keep the
 * same one of two: that which the partition of the smaller number made. One of a later incarnation,
 * or made by the same end as the current one, shows that the current one is dead over there.
 */
export function takesPlace(rivals: Rivals): boolean {
  const { current, dialer, ownId, peerId } = rivals
  const smaller: Dialer = ownId < peerId ? 'here' : 'there'
  if (current === undefined) return !(rivals.dialing && dialer === 'there' && smaller === 'here')
  if (current.incarnation !== rivals.incarnation || current.dialer === dialer) return true
  return dialer === smaller
}
