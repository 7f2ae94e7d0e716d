/** A service, two innocent processes that share memory through it, and what a bad client does to them. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import type { TestContext } from 'node:test'
import { type ErrorCode, errnoOf } from '../../src/errors.js'
import type { Message } from '../../src/wire/codec.js'
import { type MessageName, role } from '../../src/wire/schema.js'
import { type Actor, startActor } from '../support/actor.js'
import { RawClient } from '../support/raw.js'
import { startService, type TestService } from '../support/service.js'
import { until } from '../support/until.js'

export function descriptorCount(pid: number | 'self'): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

/** Bytes of memory that a process has in use. */
export function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}

/** The code of the failure that a message tells of. */
export function failureOf(message: Message | undefined): number | undefined {
  return message?.name === 'failure' ? message.errno : undefined
}

export function assertFailure(message: Message | undefined, ...codes: ErrorCode[]): void {
  assert.equal(message?.name, 'failure', `answered with ${message?.name}`)
  const errno = failureOf(message) as number
  assert(codes.map(errnoOf).includes(errno), `errno ${errno}: ${(message as { text?: string }).text}`)
}

/** Two processes that share memory and must notice nothing. */
export class Bystanders {
  readonly owner: Actor
  readonly consumer: Actor
  #region = 0
  #attachment = 0
  #rounds = 0

  private constructor(owner: Actor, consumer: Actor) {
    this.owner = owner
    this.consumer = consumer
  }

  static async start(t: TestContext, runtimeDir: string): Promise<Bystanders> {
    const [owner, consumer] = await Promise.all([startActor(t, { runtimeDir }), startActor(t, { runtimeDir })])
    const pair = new Bystanders(owner, consumer)
    pair.#region = await owner.call<number>('allocate', 8192)
    await owner.call('make', pair.#region, { name: 'innocent' })
    const { handle } = await consumer.call<{ handle: number }>('get', 'innocent', 'readwrite')
    pair.#attachment = await consumer.call<number>('attach', handle)
    return pair
  }

  /** They go on sharing what they shared, and share something new and take it back. */
  async check(): Promise<void> {
    const { owner, consumer } = this
    this.#rounds += 1
    const word = Buffer.from(`round ${this.#rounds}`)
    await owner.call('write', this.#region, 4000, word)
    assert.deepEqual(Buffer.from(await consumer.call<Uint8Array>('read', this.#attachment, 4000, word.length)), word)
    const region = await owner.call<number>('allocate', 4096)
    const { handle: segment, segid } = await owner.call<{ handle: number; segid: bigint }>('make', region)
    const { handle: permit } = await consumer.call<{ handle: number }>('get', segid, 'readwrite')
    const attachment = await consumer.call<number>('attach', permit)
    await consumer.call('write', attachment, 0, word)
    assert.deepEqual(Buffer.from(await owner.call<Uint8Array>('read', region, 0, word.length)), word)
    await owner.call('remove', segment)
    await consumer.call('release', permit)
    await until(() => consumer.events.includes(`revoked:${attachment}:removed`))
    for (const [actor, handles] of [
      [owner, [segment, region]],
      [consumer, [permit, attachment]],
    ] as const) {
      for (const handle of handles) await actor.call('forget', handle)
    }
    this.checkUnnoticed()
  }

  checkUnnoticed(): void {
    for (const event of [...this.owner.events, ...this.consumer.events]) {
      assert(!/connected/.test(event), `a bystander was ${event}`)
      assert(!event.startsWith(`revoked:${this.#attachment}:`), 'the innocent segment was revoked')
    }
  }
}

/** What a client asks. */
export const clientRequests: readonly MessageName[] = [
  'make',
  'get',
  'describe',
  'restore',
  'attach',
  'mapped',
  'prefetch',
  'flush',
  'stats',
  'snapshot',
  'release',
  'remove',
  'partitions',
  'list',
  'ping',
]

export class Scene {
  readonly service: TestService
  readonly bystanders: Bystanders
  readonly descriptorsAtRest: number

  private constructor(service: TestService, bystanders: Bystanders) {
    this.service = service
    this.bystanders = bystanders
    this.descriptorsAtRest = descriptorCount(service.pid)
  }

  static async start(t: TestContext, service?: TestService): Promise<Scene> {
    const served = service ?? (await startService(t))
    const bystanders = await Bystanders.start(t, served.runtimeDir)
    await bystanders.check()
    return new Scene(served, bystanders)
  }

  /** The innocent go on, and the service has let go of everything the case brought. */
  async checkAfterwards(): Promise<void> {
    assert.equal(this.service.child.exitCode, null)
    assert.equal(this.service.child.signalCode, null)
    await this.bystanders.check()
    await until(() => descriptorCount(this.service.pid) === this.descriptorsAtRest)
    this.bystanders.checkUnnoticed()
  }

  /** A subtest; what it opened is closed when the innocent are looked after. */
  async case(t: TestContext, name: string, work: (hostile: Hostile) => Promise<void>): Promise<void> {
    await t.test(name, async () => {
      const hostile = new Hostile(this)
      try {
        await work(hostile)
      } finally {
        await hostile.end()
      }
      await this.checkAfterwards()
    })
  }
}

/** What one case does to the service. */
export class Hostile {
  readonly scene: Scene
  readonly #ends: (() => unknown)[] = []

  constructor(scene: Scene) {
    this.scene = scene
  }

  after(end: () => unknown): void {
    this.#ends.push(end)
  }

  async end(): Promise<void> {
    for (const end of this.#ends.splice(0).reverse()) await end()
  }

  /** A connection that has said nothing yet. */
  client(): RawClient {
    const client = new RawClient(this.scene.service.socket)
    this.after(() => {
      // What a process made stays until it says goodbye or ends, and this process goes on.
      if (!client.ended) client.send('goodbye', 0, {})
      client.close()
    })
    return client
  }

  /** A connection after its hello. */
  async greeted(kind: number = role.control): Promise<RawClient> {
    const client = this.client()
    await client.hello(kind)
    assert(!client.ended, 'the hello was refused')
    return client
  }
}
