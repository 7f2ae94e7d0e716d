import type { PermitId, SegmentId } from '../ids.js'
import type { AttachOptions } from './attaching.js'
import type { Attachment } from './attachment.js'
import type { Partition } from './partition.js'

export type Access = 'read' | 'readwrite'

export interface PermitFacts {
  readonly apid: PermitId
  readonly segid: SegmentId
  readonly access: Access
  /** Bytes of the segment: whole pages. */
  readonly length: number
  /** How many of them mean something, as the owner said when it made the segment. */
  readonly dataLength: number
}

/** The right to attach a segment. It belongs to the process: its other threads may attach by `apid`. */
export class Permit {
  readonly apid: PermitId
  readonly segid: SegmentId
  readonly access: Access
  readonly length: number
  readonly dataLength: number
  readonly #partition: Partition

  /** For `Partition.get`. */
  constructor(partition: Partition, facts: PermitFacts) {
    this.#partition = partition
    this.apid = facts.apid
    this.segid = facts.segid
    this.access = facts.access
    this.length = facts.length
    this.dataLength = facts.dataLength
  }

  /** Maps the segment, or a range of it. See `Partition.attach`. */
  attach(options: AttachOptions = {}): Promise<Attachment> {
    return this.#partition.attachWith(this, options)
  }

  /** Gives the permit back: its attachments end, in every thread. ENOENT if it was released. */
  release(): Promise<void> {
    return this.#partition.release(this.apid)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#partition.holds(this.apid)) await this.release()
  }
}
