/** A service with a partition that behaves, `good`, and one that does not, `evil`, which the test plays. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { Address } from '../../src/xpc/directory.js'
import { Scene } from '../hostile/scene.js'
import type { Actor } from '../support/actor.js'
import { type Got, type Made, make, partitionOf, type Side, startSide, untilPartition, untilPermits } from './pair.js'
import { joined, type RawPeer, rawPeer } from './raw-peer.js'

export class XpcScene {
  readonly scene: Scene
  readonly home: Side
  readonly good: Side
  /** What everybody may read and write. */
  readonly open: Made
  readonly #goodSince: string

  private constructor(scene: Scene, home: Side, good: Side, open: Made, goodSince: string) {
    this.scene = scene
    this.home = home
    this.good = good
    this.open = open
    this.#goodSince = goodSince
  }

  static async start(t: TestContext): Promise<XpcScene> {
    const home = await startSide(t, { name: 'default', id: 1, peers: { good: undefined, evil: undefined } })
    const good = await startSide(t, { name: 'good', id: 2, peers: { default: home.address } })
    const { since } = await untilPartition(home.actor, 'good', ({ state }) => state === 'active')
    const open = await make(home.actor, { mode: 0o606 })
    return new XpcScene(await Scene.start(t, home.service), home, good, open, since)
  }

  get address(): Address {
    return this.home.address
  }

  get actor(): Actor {
    return this.home.actor
  }

  /** A subtest, after which the innocent must have noticed nothing and nothing of it may be left. */
  async case(t: TestContext, name: string, work: (t: TestContext) => Promise<void>): Promise<void> {
    await this.scene.case(t, name, async (hostile) => {
      const ends: (() => unknown)[] = []
      hostile.after(() => {
        for (const end of ends.reverse()) end()
      })
      await work({ after: (end: () => unknown) => ends.push(end) } as unknown as TestContext)
      await this.checkGood()
    })
    await untilPartition(this.actor, 'evil', ({ state }) => state === 'inactive')
    await untilPermits(this.actor, this.open.segid, 0)
  }

  /** The partition that behaves goes on over the link that it had. */
  async checkGood(): Promise<void> {
    const { actor } = this.good
    const got = await actor.call<Got>('get', this.open.segid, 'readwrite')
    await actor.call('release', got.handle)
    const { state, since } = await partitionOf(this.actor, 'good')
    assert.deepEqual([state, since], ['active', this.#goodSince])
  }

  stranger(t: TestContext): Promise<RawPeer> {
    return rawPeer(t, this.address)
  }

  /** The evil partition with an active link. */
  evil(t: TestContext): Promise<RawPeer> {
    return joined(t, this.address, 'evil', 3)
  }
}
