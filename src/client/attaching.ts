import { setImmediate } from 'node:timers/promises'
import { type ErrorCode, XpmemError } from '../errors.js'
import { type AgentHandle, type ExtentsAnswer, kernel } from '../kernel/index.js'
import { Descriptor } from '../transport/descriptor.js'
import { decodeRows, encodeRowsOwn } from '../wire/codec.js'
import { extentFlag } from '../wire/schema.js'
import { Attachment } from './attachment.js'
import { publish } from './diagnostics.js'
import type { OwnPermits } from './own-permits.js'
import type { Permit } from './permit.js'
import type { Session } from './session.js'

export interface AttachOptions {
  /** Bytes from the start of the segment, a multiple of the page size. 0 unless said otherwise. */
  readonly offset?: number
  /** Bytes, rounded up to whole pages. To the end of the segment unless said otherwise. */
  readonly length?: number
  /** Where to map it, a multiple of the page size; EINVAL if something is mapped there. Anywhere by default. */
  readonly address?: bigint
  /** What happens when the owner's process ends: 'revoke', the default, or 'keep' the last content. */
  readonly onOwnerExit?: 'revoke' | 'keep'
  /**
   * 'coherent', the default: what one stores all others see. 'snapshot': a copy of this attachment's
   * own, each page as it was at one moment, which never waits for a page and changes by `refresh`
   * alone; of memory of other partitions too, and without a userfaultfd.
   */
  readonly consistency?: 'coherent' | 'snapshot'
}

export interface AttachingContext {
  readonly agent: AgentHandle
  readonly permits: OwnPermits
  readonly send: Session['request']
  /** Carries out a call while the partition is open; whatever it throws is an error of that call. */
  calling<T>(call: string, work: () => Promise<T>): Promise<T>
}

/** Offset, length, address, whether to keep it on the owner's exit, and what the service said, for `kernel.attach`. */
type Range = [number, number, bigint, boolean, (readonly ExtentsAnswer[] | undefined)?]

/** Attaches after which the event loop gets a turn. */
const attachesPerTurn = 256

function fail(code: ErrorCode, call: string, message: string): never {
  throw new XpmemError(code, call, message)
}

/** Maps segments into this process, as its permits allow. */
export class Attaching {
  readonly #context: AttachingContext
  #attaches = 0

  constructor(context: AttachingContext) {
    this.#context = context
  }

  async attach(permit: Permit, options: AttachOptions): Promise<Attachment> {
    const { offset = 0, address = 0n, onOwnerExit = 'revoke', consistency = 'coherent' } = options
    const { length = permit.length - offset } = options
    const pages = Math.ceil(length / kernel.pageSize) * kernel.pageSize
    checkAttachRange(permit, offset, pages, address)
    // A loop that only ever awaits attaches would never let the event loop unmap what it drops.
    this.#attaches += 1
    if (this.#attaches % attachesPerTurn === 0) await setImmediate()
    if (consistency === 'snapshot')
      return this.#attachSnapshot(permit, [offset, pages, address, onOwnerExit === 'keep'])
    const buffer = await this.#context.calling('attach', async () => {
      const map = (answers?: readonly ExtentsAnswer[]) =>
        this.#map(permit.apid, [offset, pages, address, onOwnerExit === 'keep', answers])
      const known = map()
      if (known !== undefined) return known
      const answers = await this.#context.permits.fetchExtents(this.#context.send, permit.apid, offset, pages)
      if (!kernel.grantOf(this.#context.agent, permit.apid)?.stable) return map(answers)
      this.#context.permits.keepExtents(permit.apid, answers)
      return map()
    })
    if (buffer === undefined) fail('EPROTO', 'attach', 'the service did not say where the range lies')
    await this.#context.calling('attach', () => tellPaged(this.#context.send, buffer))
    publish('attach', () => ({ segid: permit.segid, apid: permit.apid, offset, length: pages }))
    return new Attachment(permit, offset, pages, buffer, this.#context.send)
  }

  async #attachSnapshot(
    permit: Permit,
    [offset, length, address, keep]: [number, number, bigint, boolean],
  ): Promise<Attachment> {
    return this.#context.calling('attach', async () => {
      const copy = new Descriptor(kernel.createFile(length))
      try {
        await this.#context.send('snapshot', { apid: permit.apid, offset, length }, [copy])
        const row = { offset, length, fileOffset: 0, descriptor: 0, flags: extentFlag.copy }
        const answer = { rows: encodeRowsOwn('extent', [row]), descriptors: [kernel.duplicate(copy.number)] }
        this.#context.permits.known(permit.apid)
        const buffer = this.#map(permit.apid, [offset, length, address, keep, [answer]])
        if (buffer === undefined) return fail('ENOENT', 'attach', 'the permit was released')
        publish('attach', () => ({ segid: permit.segid, apid: permit.apid, offset, length }))
        return new Attachment(permit, offset, length, buffer, this.#context.send, copy)
      } catch (error) {
        copy.release()
        throw error
      }
    })
  }

  /** Maps the range if this process knows where it lies. */
  #map(apid: bigint, range: Range): ArrayBuffer | undefined {
    const { agent } = this.#context
    const [, length, address, , answers] = range
    if (answers === undefined && kernel.grantOf(agent, apid) === undefined) return undefined
    try {
      return kernel.attach(agent, apid, ...range)
    } catch (error) {
      if (address === 0n || (error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
      return fail('EINVAL', 'attach', `something is mapped in the ${length} bytes at 0x${address.toString(16)}`)
    }
  }
}

function checkAttachRange(permit: Permit, offset: number, length: number, address: bigint): void {
  const page = kernel.pageSize
  if (!Number.isSafeInteger(offset) || offset < 0 || offset % page !== 0) {
    fail('EINVAL', 'attach', `the offset is a multiple of the page size, ${page}, and not negative`)
  }
  if (!Number.isSafeInteger(length) || length <= 0) fail('EINVAL', 'attach', 'the length is more than 0 bytes')
  if (offset + length > permit.length)
    fail('EINVAL', 'attach', `the range ends after the segment's ${permit.length} bytes`)
  if (address < 0n || address % BigInt(page) !== 0n)
    fail('EINVAL', 'attach', 'the address is a multiple of the page size')
}

/** Has the service answer the faults of a fresh attachment where it must, before anybody uses it. */
async function tellPaged(send: Session['request'], buffer: ArrayBuffer): Promise<void> {
  const address = kernel.addressOf(buffer)
  try {
    for (let from = 0; ; ) {
      const part = kernel.paged(address, from)
      if (part === undefined) return
      await send('mapped', { rows: decodeRows('mapping', new Uint8Array(part.rows)) })
      from = part.next
    }
  } catch (error) {
    kernel.detach(address)
    throw error
  }
}
