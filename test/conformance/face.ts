import type { Actor } from '../support/actor.js'

/** What the cases of semantics.md are written against: processes of one language in one partition. */
export interface Face {
  readonly name: string
  /** Starts a process that has opened the partition. */
  start(): Promise<Actor>
  /** Starts one as another user; undefined where this user may not. */
  startAs(uid: number, gid: number, groups: number[]): Promise<Actor | undefined>
  readonly pageSize: number
}

/** One row of semantics.md. */
export interface Case {
  readonly row: string
  run(face: Face): Promise<void>
}

export interface Made {
  readonly handle: number
  readonly segid: bigint
}

export interface Got {
  readonly handle: number
  readonly apid: bigint
  readonly length: number
  readonly dataLength: number
}

/** An owner with a segment of some pages, and a consumer with a permit on it. */
export async function pair(face: Face, options: { pages?: number; access?: 'read' | 'readwrite'; mode?: number } = {}) {
  const owner = await face.start()
  const consumer = await face.start()
  const region = await owner.call<number>('allocate', (options.pages ?? 4) * face.pageSize)
  const made = await owner.call<Made>('make', region, { mode: options.mode ?? 0o600 })
  const permit = await consumer.call<Got>('get', made.segid, options.access ?? 'readwrite')
  return { owner, consumer, region, made, permit }
}

export const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()
