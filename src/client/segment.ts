import type { SegmentId } from '../ids.js'
import type { Partition } from './partition.js'

export interface SegmentFacts {
  readonly segid: SegmentId
  readonly name: string | undefined
  readonly address: bigint
  readonly length: number
  readonly dataLength: number
  readonly mode: number
}

/** Memory that this process offers, until `remove`, the partition's `close` or the end of the process. */
export class Segment {
  readonly segid: SegmentId
  readonly name: string | undefined
  /** Where the memory lies in this process. */
  readonly address: bigint
  /** Bytes offered: whole pages. */
  readonly length: number
  readonly dataLength: number
  /** Permission bits. */
  readonly mode: number
  readonly #partition: Partition

  /** For `Partition.make`. */
  constructor(partition: Partition, facts: SegmentFacts) {
    this.#partition = partition
    this.segid = facts.segid
    this.name = facts.name
    this.address = facts.address
    this.length = facts.length
    this.dataLength = facts.dataLength
    this.mode = facts.mode
  }

  /** Takes the memory back: once this resolves, nobody else can read or write it. */
  remove(): Promise<void> {
    return this.#partition.remove(this.segid)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#partition.offers(this.segid)) await this.remove()
  }
}
