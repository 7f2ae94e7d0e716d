/** One segment as `list` tells it. Sizes in bytes. */
export interface SegmentInfo {
  /** As hexadecimal text. */
  readonly segid: string
  /** '' for none. */
  readonly name: string
  readonly owner: { readonly pid: number; readonly uid: number; readonly gid: number; readonly command: string }
  readonly length: number
  readonly dataLength: number
  /** Permission bits. */
  readonly mode: number
  readonly permits: number
  /** Mappings of the segment in all processes; null if one of them did not answer. */
  readonly attachments: number | null
  /** Memory that the segment's files take now. */
  readonly memoryInUse: number
}
