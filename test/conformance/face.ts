import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { TestService } from '../support/service.js'
import { until } from '../support/until.js'
import type { Row } from './rows.js'

export type Language = 'TypeScript' | 'C'

/** What a case drives: an actor in one of the languages. */
export interface Process {
  readonly language: Language
  readonly pid: number
  /** What it told of by itself. */
  readonly events: string[]
  readonly exited: Promise<unknown>
  call<T = unknown>(name: string, ...args: unknown[]): Promise<T>
  signal(name: NodeJS.Signals): void
  end(name?: NodeJS.Signals): Promise<void>
}

export interface StartOptions {
  /** Attachments keep the last content when the owner's process ends. */
  readonly keep?: true
}

/** What the cases of the semantics are written against: processes of one or two languages in one partition. */
export interface Face {
  readonly t: TestContext
  readonly service: TestService
  readonly pageSize: number
  /** The languages of its owners and of its consumers. */
  readonly owner: Language
  readonly consumer: Language
  startOwner(): Promise<Process>
  startConsumer(options?: StartOptions): Promise<Process>
  /** Starts a consumer as another user. */
  startStranger(uid: number, gid: number, groups: number[]): Promise<Process>
  /** Has a C process fork. */
  fork(parent: Process): Promise<Process>
}

export const faces = {
  TypeScript: { owner: 'TypeScript', consumer: 'TypeScript' },
  C: { owner: 'C', consumer: 'C' },
  'C to TypeScript': { owner: 'C', consumer: 'TypeScript' },
  'TypeScript to C': { owner: 'TypeScript', consumer: 'C' },
} as const satisfies Record<string, { owner: Language; consumer: Language }>

export type FaceName = keyof typeof faces

/** Where a case can be expressed. */
export const on = {
  everyFace: ['TypeScript', 'C', 'C to TypeScript', 'TypeScript to C'],
  /** It has one process, or says nothing about two. */
  eachLanguage: ['TypeScript', 'C'],
  c: ['C'],
  typeScript: ['TypeScript'],
  cOwner: ['C', 'C to TypeScript'],
  typeScriptOwner: ['TypeScript', 'TypeScript to C'],
  cConsumer: ['C', 'TypeScript to C'],
  typeScriptConsumer: ['TypeScript', 'C to TypeScript'],
} as const satisfies Record<string, readonly FaceName[]>

/** Something that a row of the semantics says. */
export interface Case {
  readonly row: Row
  /** A sentence that can be false. */
  readonly name: string
  readonly on: readonly FaceName[]
  /** Why it cannot run in a C process that is compiled with a sanitizer, by the sanitizer's name. */
  readonly notUnder?: { readonly [sanitizer: string]: string }
  run(face: Face): Promise<void>
}

export interface Made {
  readonly handle: number
  readonly segid: bigint
}

export interface Got {
  readonly handle: number
  readonly apid: bigint
}

/** Attaches and gives the handle; C has to be told a length. */
export const attach = (
  process: Process,
  permit: Got,
  options: { length: number; offset?: number | bigint; address?: bigint },
) => process.call<number>('attach', permit.handle, options)

/** An owner with a segment of some pages, and a consumer with a permit on it. */
export async function pair(face: Face, options: { pages?: number; access?: 'read' | 'readwrite'; mode?: number } = {}) {
  const length = (options.pages ?? 4) * face.pageSize
  const owner = await face.startOwner()
  const consumer = await face.startConsumer()
  const region = await owner.call<number>('allocate', length)
  const made = await owner.call<Made>('make', region, { mode: options.mode ?? 0o600 })
  const permit = await consumer.call<Got>('get', made.segid, options.access ?? 'readwrite')
  return { owner, consumer, region, made, permit, length }
}

/** The same, attached once, whole. */
export async function attachedPair(face: Face, options: Parameters<typeof pair>[1] = {}) {
  const scene = await pair(face, options)
  const attachment = await attach(scene.consumer, scene.permit, { length: scene.length })
  return { ...scene, attachment }
}

export const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()

export const read = async (process: Process, memory: number, offset: number, length: number) =>
  text(await process.call<Uint8Array>('read', memory, offset, length))

export const write = (process: Process, memory: number, offset: number, words: string) =>
  process.call('write', memory, offset, Buffer.from(words))

export const code = (expected: string) => ({ code: expected })

/**
 * The attachment has been revoked: in C an access raises SIGBUS; JavaScript sees zeros, and a buffer
 * without bytes as soon as its event loop turns, which it may do for this question first.
 */
export async function assertRevoked(process: Process, attachment: number, offset = 0): Promise<void> {
  if (process.language === 'C') {
    await assert.rejects(process.call('read', attachment, offset, 1), code('SIGBUS'))
    await assert.rejects(process.call('write', attachment, offset, Uint8Array.of(1)), code('SIGBUS'))
  } else {
    const seen = await process.call<Uint8Array>('read', attachment, offset, 1)
    assert(Array.from(seen).every((byte) => byte === 0))
    await until(async () => (await process.call('byteLength', attachment)) === 0)
    assert.equal(await process.call('revoked', attachment), true)
  }
}

/** The attachment is there no more: nothing is mapped where it was. */
export async function assertUnmapped(process: Process, attachment: number, address: bigint): Promise<void> {
  assert.equal(await process.call('isMapped', address), false)
  if (process.language === 'C') await assert.rejects(process.call('read', attachment, 0, 1), code('SIGSEGV'))
  else assert.equal(await process.call('byteLength', attachment), 0)
}
