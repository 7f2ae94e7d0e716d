/** What owners are told of memory that has earlier content again. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { packId, unpackId } from '../../src/ids.js'
import { kernel } from '../../src/kernel/index.js'
import type { ThreadGroup } from '../../src/service/groups.js'
import { Registry } from '../../src/service/registry.js'
import { Rollbacks } from '../../src/service/rollbacks.js'
import type { SegmentMemory } from '../../src/service/segment-memory.js'
import type { Channel } from '../../src/transport/channel.js'
import type { Message, MessageInput } from '../../src/wire/codec.js'
import { unknownAge } from '../../src/wire/schema.js'

const page = kernel.pageSize
const start = 64 * page

/** Two processes, 1 and 2, with a session each, and what these were told: segment, first page and pages. */
class Scene {
  readonly groups = [1, 2].map((id) => ({ id }) as ThreadGroup) as [ThreadGroup, ThreadGroup]
  readonly told: [segid: number, first: number, count: number][] = []
  readonly #memories = new Map<bigint, SegmentMemory>()
  readonly #registry: Registry
  readonly #rollbacks: Rollbacks
  #made = 0

  constructor() {
    const many = 1_000
    const limits = { segmentsPerGroup: many, permitsPerGroup: many, segments: many, permits: many }
    this.#registry = new Registry(() => this.#nextId(9), limits)
    for (const { id } of this.groups) this.#registry.openSession(id, id)
    const send = (_name: 'rolledBack', _request: number, { segid = 0n, rows = [] }: MessageInput<'rolledBack'>) => {
      for (const { offset, length, ageMs } of rows) {
        assert.equal(ageMs, unknownAge)
        this.told.push([unpackId(segid).sequence, offset / page, length / page])
      }
    }
    this.#rollbacks = new Rollbacks({
      registry: this.#registry,
      memories: this.#memories,
      channelOf: () => ({ send }) as unknown as Channel,
    })
  }

  #nextId(incarnation: number): bigint {
    this.#made += 1
    return packId({ partition: 1, incarnation, sequence: this.#made })
  }

  putBack(group: ThreadGroup, ...ranges: [first: number, count: number][]): void {
    const rows = ranges.map(([first, count]) => ({ address: start + first * page, length: count * page }))
    this.#rollbacks.putBack(group, { name: 'putBack', request: 0, rows } as Message & { name: 'putBack' })
  }

  /** A process has a segment that lies so many pages after `start`; made now, or under an earlier service. */
  segment(group: ThreadGroup, origin: 'here' | 'earlier', first: number, count: number): void {
    const address = BigInt(start + first * page)
    const offer = { address, length: count * page, dataLength: 0, mode: 0, name: '', uid: 0, gid: 0 }
    const segment =
      origin === 'here'
        ? this.#registry.make(group.id, offer)
        : this.#registry.restoreSegment(group.id, this.#nextId(8), offer)
    this.#memories.set(segment.segid, {} as SegmentMemory)
    this.#rollbacks.cameBack(group, segment)
  }
}

test('an owner is told what of its segment was put back, whether its agent or the segment comes first', () => {
  for (const order of ['agent first', 'segment first']) {
    const scene = new Scene()
    const [owner] = scene.groups
    const agent = () => scene.putBack(owner, [0, 3], [4, 2], [7, 1], [20, 5])
    if (order === 'agent first') agent()
    scene.segment(owner, 'earlier', 2, 3)
    if (order === 'segment first') agent()
    assert.deepEqual(
      scene.told,
      [
        [1, 0, 1],
        [1, 2, 1],
      ],
      order,
    )
  }
})

test('each of two segments on the same memory is told, and one with nothing of it is not', () => {
  const scene = new Scene()
  const [owner] = scene.groups
  scene.segment(owner, 'earlier', 0, 8)
  scene.putBack(owner, [6, 1])
  scene.segment(owner, 'earlier', 5, 3)
  scene.segment(owner, 'earlier', 7, 1)
  scene.segment(owner, 'earlier', 3, 3)
  assert.deepEqual(scene.told, [
    [1, 6, 1],
    [2, 1, 1],
  ])
})

test("nobody is told of another's memory, nor of what was put back before a segment was made", () => {
  const scene = new Scene()
  const [owner, other] = scene.groups
  scene.segment(other, 'earlier', 0, 8)
  scene.segment(owner, 'here', 0, 8)
  scene.putBack(owner, [6, 1])
  scene.segment(other, 'earlier', 0, 8)
  scene.segment(owner, 'here', 0, 8)
  assert.deepEqual(scene.told, [])
})

test('where there is more than one message holds, the last range reaches to the end of it', () => {
  const scene = new Scene()
  const [owner] = scene.groups
  scene.putBack(owner, ...Array.from({ length: 2_000 }, (_, index): [number, number] => [2 * index, 1]))
  scene.segment(owner, 'earlier', 100, 10_000)
  assert.equal(scene.told.length, 1_024)
  assert.deepEqual(scene.told.slice(0, 2), [
    [1, 0, 1],
    [1, 2, 1],
  ])
  assert.deepEqual(scene.told.at(-1), [1, 2 * 1_023, 3_998 - 100 - 2 * 1_023 + 1])
})

test('a process that has many segments on the same memory is told one range of each in the end', () => {
  const scene = new Scene()
  const [owner] = scene.groups
  scene.putBack(owner, ...Array.from({ length: 1_000 }, (_, index): [number, number] => [2 * index, 1]))
  for (let count = 0; count < 70; count += 1) scene.segment(owner, 'earlier', 0, 2_000)
  assert.equal(scene.told.length, 65_536 + 70 - 66)
  assert.deepEqual(scene.told.at(-1), [70, 0, 1_999])
})

test('what is told twice, out of order, or of no whole pages breaks the protocol', () => {
  const bad: [number, number][][] = [
    [[0.5, 1]],
    [[0, 0.5]],
    [[0, 0]],
    [
      [2, 1],
      [1, 1],
    ],
    [
      [0, 2],
      [1, 1],
    ],
    [[0, 2 ** 50]],
  ]
  for (const ranges of bad) {
    const scene = new Scene()
    assert.throws(() => scene.putBack(scene.groups[0], ...ranges), { code: 'EPROTO' }, `${ranges}`)
  }
  const scene = new Scene()
  scene.putBack(scene.groups[0])
  assert.throws(() => scene.putBack(scene.groups[0]), { code: 'EPROTO' })
  scene.putBack(scene.groups[1])
})
