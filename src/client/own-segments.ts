import { asXpmemError, type XpmemError } from '../errors.js'
import { type AgentHandle, type Backing, kernel } from '../kernel/index.js'
import { Descriptor } from '../transport/descriptor.js'
import { makeFlag } from '../wire/schema.js'
import type { Session } from './session.js'
import type { ResolvedSource } from './source.js'

interface Spec {
  readonly source: ResolvedSource
  readonly dataLength: number
  readonly mode: number
  readonly name: string
}

interface OwnSegment extends Spec {
  readonly offer: number
  readonly tokenHigh: bigint
  readonly tokenLow: bigint
}

export interface LostSegment {
  readonly segid: bigint
  readonly why: XpmemError
}

/** What a service says that will not have a segment back. */
const refusals = new Set(['EACCES', 'EEXIST', 'EINVAL', 'EMFILE', 'ENOENT'])

/** The segments this thread has made: what it takes to make them known again, and the hold on their memory. */
export class OwnSegments {
  readonly #agent: AgentHandle
  readonly #segments = new Map<bigint, OwnSegment>()

  constructor(agent: AgentHandle) {
    this.#agent = agent
  }

  get size(): number {
    return this.#segments.size
  }

  ids(): bigint[] {
    return [...this.#segments.keys()]
  }

  has(segid: bigint): boolean {
    return this.#segments.has(segid)
  }

  /** Offers the memory; the segid it got. */
  async make(send: Session['request'], spec: Spec): Promise<bigint> {
    const offer = kernel.offer(this.#agent, spec.source.address, spec.source.length)
    try {
      const made = await sendMake(send, spec, { segid: 0n, tokenHigh: 0n, tokenLow: 0n })
      this.#segments.set(made.segid, { ...spec, offer, tokenHigh: made.tokenHigh, tokenLow: made.tokenLow })
      return made.segid
    } catch (error) {
      kernel.withdraw(this.#agent, offer)
      throw error
    }
  }

  /**
   * Makes the segments known to a service that has forgotten. A name that somebody else took
   * meanwhile is given up; a segment that the service refuses is lost, and the others are not.
   */
  async restore(send: Session['request']): Promise<LostSegment[]> {
    const lost = await Promise.all([...this.#segments].map(([segid, own]) => this.#restoreOne(send, segid, own)))
    return lost.filter((one) => one !== undefined)
  }

  async #restoreOne(send: Session['request'], segid: bigint, own: OwnSegment): Promise<LostSegment | undefined> {
    try {
      await sendMake(send, own, { segid, ...own })
    } catch (thrown) {
      const why = asXpmemError(thrown, 'make')
      if (why.code === 'EEXIST' && own.name !== '') {
        const nameless = { ...own, name: '' }
        this.#segments.set(segid, nameless)
        return this.#restoreOne(send, segid, nameless)
      }
      if (!refusals.has(why.code)) throw why
      this.forget(segid)
      return { segid, why }
    }
    return undefined
  }

  /** The memory is the owner's alone again. */
  forget(segid: bigint): void {
    const own = this.#segments.get(segid)
    if (own === undefined) return
    this.#segments.delete(segid)
    kernel.withdraw(this.#agent, own.offer)
  }

  forgetAll(): void {
    for (const segid of [...this.#segments.keys()]) this.forget(segid)
  }
}

interface Identity {
  readonly segid: bigint
  readonly tokenHigh: bigint
  readonly tokenLow: bigint
}

async function sendMake(
  send: Session['request'],
  spec: Spec,
  { segid, tokenHigh, tokenLow }: Identity,
): Promise<Identity> {
  const { address, length } = spec.source
  const backing: Backing | undefined = kernel.backingOf(address, length)
  const descriptors = (backing?.descriptors ?? []).map((number) => new Descriptor(number))
  try {
    const { message } = await send(
      'make',
      {
        segid,
        tokenHigh,
        tokenLow,
        address,
        length,
        dataLength: spec.dataLength,
        fileOffset: backing?.fileOffset ?? 0,
        mode: spec.mode,
        flags: backing === undefined ? 0 : makeFlag.backed,
        text: spec.name,
      },
      descriptors,
    )
    if (message.name !== 'made') throw new Error(`the service answered a make with ${message.name}`)
    return message
  } finally {
    for (const descriptor of descriptors) descriptor.release()
  }
}
