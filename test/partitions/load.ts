/** Processes of three partitions that store to the same pages without end. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { Actor } from '../support/actor.js'
import { until } from '../support/until.js'
import type { Side } from '../xpc/pair.js'
import { another, attach, type Shared, share, startWorld, type WorldOptions, watch } from './world.js'

export const loadPages = 5

export interface Worker {
  readonly name: string
  readonly actor: Actor
  readonly memory: number
  /** Which word of each page it stores to. */
  readonly word: number
}

export interface Load {
  readonly sides: readonly [Side, Side, Side]
  readonly shared: Shared
  readonly owner: Worker
  readonly local: Worker
  readonly far: Worker
  readonly farToo: Worker
  readonly third: Worker
}

/** Every worker has stored so often since. */
export async function progress(workers: readonly Worker[], turns = 20): Promise<void> {
  await Promise.all(
    workers.map(async ({ actor, name }) => {
      const before = await actor.call<number>('loadDone')
      const after = await actor.call<number>('untilLoad', before + turns)
      assert(after >= before + turns, `${name} went on`)
    }),
  )
}

export async function startLoad(t: TestContext, options: WorldOptions = {}): Promise<Load> {
  const args = ['--heartbeat', '100', '--flush', '20', ...(options.args ?? [])]
  const sides = (await startWorld(t, 3, { ...options, args })) as [Side, Side, Side]
  const [home, far, third] = sides
  const owner = await another(t, home)
  const shared = await share(owner, loadPages)
  const workers: Worker[] = [{ name: 'owner', actor: owner, memory: shared.memory, word: 0 }]
  for (const [index, [name, side]] of [
    ['local', home] as const,
    ['far', far] as const,
    ['farToo', far] as const,
    ['third', third] as const,
  ].entries()) {
    const actor = await another(t, side)
    const { attachment } = await attach(actor, shared.segid)
    workers.push({ name, actor, memory: attachment, word: index + 1 })
  }
  const services = sides.map(({ service }) => [`service of ${service.partition}`, service.pid] as const)
  watch(t, Object.fromEntries([...services, ...workers.map(({ name, actor }) => [name, actor.pid] as const)]))
  for (const { actor, memory, word } of workers) await actor.call('startLoad', memory, word, loadPages)
  await progress(workers)
  const named = Object.fromEntries(workers.map((worker) => [worker.name, worker]))
  return { sides, shared, ...named } as unknown as Load
}

/** The workers have never found anything but what they stored. */
export async function assertNothingLost(workers: readonly Worker[]): Promise<void> {
  for (const { actor, name } of workers) assert.equal(await actor.call('loadLost'), 0, `${name} lost stores`)
}

export async function stopAll(workers: readonly Worker[]): Promise<void> {
  for (const { actor } of workers) await actor.call('stopLoad')
}

/** What the owner has of a worker's words. */
export async function wordsAtHome({ owner }: Load, { word }: Worker): Promise<number[]> {
  const words: number[] = []
  for (let page = 0; page < loadPages; page += 1)
    words.push(await owner.actor.call<number>('load', owner.memory, page * 1_024 + word))
  return words
}

/** Waits until a worker's memory was taken away, and says why. */
export async function untilRevoked({ actor, memory }: Worker, why: string): Promise<void> {
  await until(() => actor.events.some((event) => event.startsWith(`revoked:${memory}:`)))
  assert(actor.events.includes(`revoked:${memory}:${why}`), `${actor.events}`)
}

/** A worker's service had everything at home that it stored until now, at the least; how much that is. */
export async function flushed({ actor, memory }: Worker): Promise<number> {
  const turns = await actor.call<number>('loadDone')
  await actor.call('flush', memory)
  return turns
}
