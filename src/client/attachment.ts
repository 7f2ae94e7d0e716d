import { EventEmitter } from 'node:events'
import { asXpmemError, XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import type { Descriptor } from '../transport/descriptor.js'
import type { Message, MessageInput } from '../wire/codec.js'
import { access, type MessageName } from '../wire/schema.js'
import { publish } from './diagnostics.js'
import type { Permit } from './permit.js'
import type { Session } from './session.js'

/** Why an attachment was taken away: its segment was removed, its owner is gone, or the partition it comes from cannot be reached. */
export type RevocationReason = 'removed' | 'owner-exit' | 'partition'

export interface AttachmentEvents {
  /** The memory is no longer shared; `buffer.byteLength` is 0. Comes once, and not after `detach`. */
  revoked: [why: RevocationReason]
}

/** What paging has done for an attachment's memory. */
export interface AttachmentStats {
  /** How often threads waited for a page. */
  readonly faults: number
  /** Pages and bytes that came from their home, and that were sent there. */
  readonly pagesIn: number
  readonly pagesOut: number
  readonly bytesIn: number
  readonly bytesOut: number
  /** How long threads waited, all together. */
  readonly waitedMs: number
}

/** Closes what the snapshots lie in that nothing refers to any more. */
const copies = new FinalizationRegistry<Descriptor>((copy) => copy.release())

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
  readonly #send: Session['request']
  /** What a snapshot lies in. */
  readonly #copy: Descriptor | undefined
  #state: 'attached' | 'detached' | 'revoked' = 'attached'

  /** For `Permit.attach`. */
  constructor(
    permit: Permit,
    offset: number,
    length: number,
    buffer: ArrayBuffer,
    send: Session['request'],
    copy?: Descriptor,
  ) {
    super()
    this.#send = send
    this.#copy = copy
    if (copy !== undefined) copies.register(this, copy)
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

  /**
   * Gets pages of another partition before they are used, for reading or writing; of a range in bytes
   * from the start of the attachment, rounded to whole pages, all of it by default. Resolves when
   * they have come. Memory of this partition needs nothing of the kind.
   */
  async prefetch(offset = 0, length = this.length - offset, wanted: 'read' | 'write' = 'read'): Promise<void> {
    if (wanted !== 'read' && wanted !== 'write') {
      throw new XpmemError('EINVAL', 'prefetch', "pages are got for 'read' or 'write'")
    }
    const range = this.#range('prefetch', offset, length)
    await this.#ask('prefetch', { ...range, access: wanted === 'read' ? access.read : access.readwrite })
  }

  /**
   * Sends what was changed of another partition's memory home; resolves when it is there. Unasked
   * that happens every 100 ms, which bounds what the end of this partition can take along.
   */
  async flush(): Promise<void> {
    await this.#ask('flush', this.#range('flush', 0, this.length))
  }

  /** Has a snapshot show the memory as it is now. EINVAL for an attachment that is coherent by itself. */
  async refresh(): Promise<void> {
    this.#range('refresh', 0, this.length)
    if (this.#copy === undefined) throw new XpmemError('EINVAL', 'refresh', 'only a snapshot needs to be refreshed')
    const { offset, length } = this
    try {
      await this.#send('snapshot', { apid: this.permit.apid, offset, length }, [this.#copy])
    } catch (error) {
      throw asXpmemError(error, 'refresh')
    }
  }

  /**
   * What was done so far to page the memory that the attachment shows, for all of this partition:
   * zeros where it is this partition's own and no other uses it.
   */
  async stats(): Promise<AttachmentStats> {
    const message = await this.#ask('stats', this.#range('stats', 0, this.length))
    if (message.name !== 'counted') throw new Error(`the service answered stats with ${message.name}`)
    const { faults, pagesIn, pagesOut, waitedMicros } = message
    const { pageSize } = kernel
    return {
      faults,
      pagesIn,
      pagesOut,
      bytesIn: pagesIn * pageSize,
      bytesOut: pagesOut * pageSize,
      waitedMs: waitedMicros / 1_000,
    }
  }

  /** The pages that a range lies in, by address. */
  #range(call: string, offset: number, length: number): { address: number; length: number } {
    if (!this.attached) throw new XpmemError('ENOENT', call, 'the memory is not attached any more')
    const inside = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length > 0
    if (!inside || offset + length > this.length) {
      throw new XpmemError('EINVAL', call, `a range lies within the ${this.length} bytes of the attachment`)
    }
    const { pageSize } = kernel
    const start = Math.floor(offset / pageSize) * pageSize
    const end = Math.ceil((offset + length) / pageSize) * pageSize
    return { address: Number(this.address) + start, length: end - start }
  }

  async #ask<N extends MessageName>(name: N, input: MessageInput<N>): Promise<Message> {
    try {
      return (await this.#send(name, input)).message
    } catch (error) {
      throw asXpmemError(error, name)
    }
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
