import { EventEmitter } from 'node:events'
import { kernel } from '../kernel/index.js'
import { publish } from './diagnostics.js'
import type { Permit } from './permit.js'

/** Why an attachment was taken away: its segment was removed, its owner is gone, or the partition it comes from cannot be reached. */
export type RevocationReason = 'removed' | 'owner-exit' | 'partition'

export interface AttachmentEvents {
  /** The memory is no longer shared; `buffer.byteLength` is 0. Comes once, and not after `detach`. */
  revoked: [why: RevocationReason]
}

const byBuffer = new WeakMap<ArrayBuffer, Attachment>()

/**
 * A segment's memory mapped into this process: `buffer` is an ordinary ArrayBuffer, shared with the
 * owner and with every other attacher. It stays mapped while the buffer, or a view of it, is
 * reachable, until `detach`, the permit's `release` or a revocation.
 *
 * With a `read` permit the mapping is read-only: a store into it raises SIGSEGV, which ends the process.
 */
export class Attachment extends EventEmitter<AttachmentEvents> {
  readonly permit: Permit
  /** Bytes from the start of the segment. */
  readonly offset: number
  /** Bytes mapped: whole pages. */
  readonly length: number
  /** Where it is mapped. */
  readonly address: bigint
  readonly #buffer: ArrayBuffer
  #state: 'attached' | 'detached' | 'revoked' = 'attached'

  /** For `Permit.attach`. */
  constructor(permit: Permit, offset: number, length: number, buffer: ArrayBuffer) {
    super()
    this.permit = permit
    this.offset = offset
    this.length = length
    this.address = kernel.addressOf(buffer)
    this.#buffer = buffer
    byBuffer.set(buffer, this)
  }

  /** The attachment that a buffer belongs to. */
  static of(buffer: ArrayBuffer): Attachment | undefined {
    return byBuffer.get(buffer)
  }

  /** The memory; of length 0 once it is detached or revoked. */
  get buffer(): ArrayBuffer {
    return this.#buffer
  }

  get revoked(): boolean {
    return this.#state === 'revoked'
  }

  get attached(): boolean {
    return this.#state === 'attached' && this.#buffer.byteLength > 0
  }

  /**
   * Unmaps the memory at once; views of it get length 0. Harmless when it was detached or revoked.
   * Not while an asynchronous call (fs, zlib, crypto) still works on it.
   */
  detach(): void {
    // A released permit has taken the mapping along, and the address may be another's by now.
    if (!this.attached) return
    kernel.detach(this.address)
    this.#state = 'detached'
    publish('detach', () => ({ segid: this.permit.segid, apid: this.permit.apid, offset: this.offset }))
  }

  /** For the partition: the mapping was taken away from outside. */
  revoke(why: RevocationReason): void {
    if (this.#state !== 'attached') return
    this.#state = 'revoked'
    publish('revoked', () => ({ segid: this.permit.segid, apid: this.permit.apid, offset: this.offset, why }))
    this.emit('revoked', why)
  }

  [Symbol.dispose](): void {
    this.detach()
  }
}
