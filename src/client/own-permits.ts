import { asXpmemError, XpmemError } from '../errors.js'
import type { PermitId, SegmentId } from '../ids.js'
import { type AgentHandle, type ExtentsAnswer, kernel } from '../kernel/index.js'
import { closeAll } from '../transport/descriptor.js'
import { encodeRowsOwn, type Message, type MessageInput, type Row } from '../wire/codec.js'
import { access, gotFlag } from '../wire/schema.js'
import type { PermitFacts } from './permit.js'
import type { Session } from './session.js'

type Got = Message & { name: 'got' }

/** The permits this thread has got, and what it takes to make them known again. */
export class OwnPermits {
  readonly #agent: AgentHandle
  readonly #permits = new Map<bigint, Got>()

  constructor(agent: AgentHandle) {
    this.#agent = agent
  }

  has(apid: bigint): boolean {
    return this.#permits.has(apid)
  }

  async get(send: Session['request'], input: MessageInput<'get'>): Promise<PermitFacts> {
    const { message } = await send('get', input)
    if (message.name !== 'got') throw new Error(`the service answered a get with ${message.name}`)
    this.#permits.set(message.apid, message)
    return factsOf(message)
  }

  /** What is known of a permit that another thread of the process got. */
  async describe(send: Session['request'], apid: bigint): Promise<PermitFacts> {
    const own = this.#permits.get(apid)
    if (own !== undefined) return factsOf(own)
    const { message } = await send('describe', { apid })
    if (message.name !== 'got') throw new Error(`the service answered a describe with ${message.name}`)
    this.#openGrant(message)
    return factsOf(message)
  }

  /**
   * Asks where the range lies, for `kernel.attach`: one answer, or more if it lies in many files. The
   * agent knows of the permit before the service is asked, so that a revocation that overtakes the
   * answer is not lost.
   */
  async fetchExtents(
    send: Session['request'],
    apid: bigint,
    offset: number,
    length: number,
  ): Promise<readonly ExtentsAnswer[]> {
    this.known(apid)
    const answers: ExtentsAnswer[] = []
    const end = offset + length
    try {
      for (let reached = offset; reached < end; ) {
        const { message, descriptors } = await send('attach', { apid, offset: reached, length: end - reached })
        if (message.name !== 'extents') {
          closeAll(descriptors)
          throw new Error(`the service answered an attach with ${message.name}`)
        }
        answers.push({ rows: encodeRowsOwn('extent', message.rows), descriptors })
        const next = endOf(message.rows, reached)
        if (next <= reached) throw new XpmemError('EPROTO', 'attach', 'the service did not say where the range lies')
        reached = next
      }
    } catch (error) {
      for (const { descriptors } of answers) closeAll(descriptors)
      throw error
    }
    return answers
  }

  /** Has the process's agent know the permit, so that it can be attached with. */
  known(apid: bigint): void {
    const own = this.#permits.get(apid)
    if (own !== undefined) this.#openGrant(own)
  }

  /** Keeps what was answered, of a stable segment, for further attaches. */
  keepExtents(apid: bigint, answers: readonly ExtentsAnswer[]): void {
    const left = [...answers]
    try {
      for (let answer = left.shift(); answer !== undefined; answer = left.shift()) {
        kernel.grantExtents(this.#agent, apid, answer)
      }
    } finally {
      for (const { descriptors } of left) closeAll(descriptors)
    }
  }

  #openGrant(got: Got): void {
    const { apid, segid, length, ownerPid, ownerStart } = got
    const writable = got.access === access.readwrite
    const stable = (got.flags & gotFlag.stable) !== 0
    kernel.grantOpen(this.#agent, { apid, segid, length, writable, ownerPid, ownerStart, stable })
  }

  /** A permit whose segment is gone is not restored; its attachments hear of it by their agent. */
  async restore(send: Session['request']): Promise<void> {
    await Promise.all(
      [...this.#permits.values()].map(async (got) => {
        try {
          await send('restore', got)
        } catch (thrown) {
          const error = asXpmemError(thrown, 'restore')
          if (error.code !== 'ENOENT' && error.code !== 'EACCES') throw error
        }
      }),
    )
  }

  /** Ends the permit's attachments in the whole process. */
  forget(apid: bigint): void {
    this.#permits.delete(apid)
    kernel.grantClose(this.#agent, apid)
  }

  forgetAll(): void {
    for (const apid of [...this.#permits.keys()]) this.forget(apid)
  }
}

/** Up to where rows in ascending order tell of everything from `offset` on. */
function endOf(rows: readonly Row<'extent'>[], offset: number): number {
  let reached = offset
  for (const row of rows) {
    if (row.offset > reached) return reached
    reached = Math.max(reached, row.offset + row.length)
  }
  return reached
}

function factsOf(got: Got): PermitFacts {
  return {
    apid: got.apid as PermitId,
    segid: got.segid as SegmentId,
    access: got.access === access.readwrite ? 'readwrite' : 'read',
    length: got.length,
    dataLength: got.dataLength,
  }
}
