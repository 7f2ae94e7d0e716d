/** A partition as `partitions` tells it. */
export interface PartitionInfo {
  readonly name: string
  /** Its number; null before its service was heard of. */
  readonly id: number | null
  /** Where its service listens, HOST:PORT; null if it is waited for. */
  readonly address: string | null
  readonly state: 'inactive' | 'activating' | 'active' | 'deactivating'
  /** Why it came to be in that state, and when (ISO 8601). */
  readonly reason: string
  readonly since: string
  /** Milliseconds that a message takes there and back, smoothed; null while it is not active. */
  readonly roundTripMs: number | null
  /** Since the service started. */
  readonly pagesIn: number
  readonly pagesOut: number
  readonly bytesIn: number
  readonly bytesOut: number
}
