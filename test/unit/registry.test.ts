import assert from 'node:assert/strict'
import { test } from 'node:test'
import { packId } from '../../src/ids.js'
import { type Limits, type Offer, Registry } from '../../src/service/registry.js'
import { access } from '../../src/wire/schema.js'
import { Random } from './random.js'

const incarnation = 9

function registry(limits: Partial<Limits> = {}): Registry {
  let sequence = 0
  const nextId = () => {
    sequence += 1
    return packId({ partition: 1, incarnation, sequence })
  }
  return new Registry(nextId, {
    segmentsPerGroup: 100,
    permitsPerGroup: 100,
    segments: 1_000,
    permits: 1_000,
    ...limits,
  })
}

function offer(changes: Partial<Offer> = {}): Offer {
  return { address: 0x1000n, length: 4096, dataLength: 4096, mode: 0o600, name: '', uid: 1, gid: 1, ...changes }
}

/** Sessions 11 and 12 of process 1, 21 of process 2, 31 of process 3. */
function populated(limits: Partial<Limits> = {}): Registry {
  const made = registry(limits)
  for (const session of [11, 12, 21, 31]) made.openSession(session, Math.floor(session / 10))
  return made
}

test('a segment that was made is found by its segid and by its name', () => {
  const r = populated()
  const segment = r.make(11, offer({ name: 'frames' }))
  assert.equal(r.find(segment.segid, 'get'), segment)
  assert.equal(r.find('frames', 'get'), segment)
  assert.deepEqual([segment.owner, segment.origin, r.segmentCount], [1, 'here', 1])
})

test('an unknown segid or name is ENOENT of the call that asked', () => {
  const r = populated()
  assert.throws(() => r.find(5n, 'get'), { code: 'ENOENT', call: 'get' })
  assert.throws(() => r.find('nobody', 'attach'), { code: 'ENOENT', call: 'attach', message: /'nobody'/ })
  assert.throws(() => r.find('', 'get'), { code: 'ENOENT' })
})

test('one memory made twice is two segments', () => {
  const r = populated()
  assert.notEqual(r.make(11, offer()).segid, r.make(11, offer()).segid)
  assert.equal(r.segmentCount, 2)
})

test('a name is given to one segment at a time, and is free after its end', () => {
  const r = populated()
  const first = r.make(11, offer({ name: 'n' }))
  assert.throws(() => r.make(21, offer({ name: 'n' })), { code: 'EEXIST', call: 'make' })
  assert.equal(r.segmentCount, 1)
  r.remove(1, first.segid)
  const second = r.make(21, offer({ name: 'n' }))
  assert.equal(r.find('n', 'get'), second)
})

test('a segment without a name takes no name from another', () => {
  const r = populated()
  r.make(11, offer())
  r.make(11, offer())
  assert.throws(() => r.find('', 'get'), { code: 'ENOENT' })
})

test('only its owner removes a segment, once', () => {
  const r = populated()
  const { segid } = r.make(11, offer())
  assert.throws(() => r.remove(2, segid), { code: 'EACCES', call: 'remove' })
  assert(r.has(segid))
  assert.equal(r.remove(1, segid).segment.segid, segid)
  assert.throws(() => r.remove(1, segid), { code: 'ENOENT' })
  assert.throws(() => r.grant(21, segid, access.read), { code: 'ENOENT' })
})

test('a permit is for its process alone, in any of its sessions', () => {
  const r = populated()
  const { segid } = r.make(21, offer())
  const permit = r.grant(11, segid, access.read)
  assert.deepEqual([permit.segid, permit.holder, permit.access], [segid, 1, access.read])
  assert.equal(r.permit(1, permit.apid, 'attach'), permit)
  assert.throws(() => r.permit(2, permit.apid, 'attach'), { code: 'EACCES', call: 'attach' })
  assert.throws(() => r.release(2, permit.apid), { code: 'EACCES', call: 'release' })
  r.release(1, permit.apid)
  assert.throws(() => r.release(1, permit.apid), { code: 'ENOENT' })
  assert.throws(() => r.permit(1, permit.apid, 'attach'), { code: 'ENOENT' })
})

test('a permit outlives its segment, so that release and detach still answer', () => {
  const r = populated()
  const { segid } = r.make(11, offer())
  const { apid } = r.grant(21, segid, access.read)
  r.remove(1, segid)
  assert.equal(r.permit(2, apid, 'attach').segid, segid)
  r.release(2, apid)
})

test('no identifier is given twice, to segments or permits', () => {
  const r = populated()
  const seen = new Set<bigint>()
  for (let round = 0; round < 50; round += 1) {
    const { segid } = r.make(11, offer())
    const { apid } = r.grant(21, segid, access.read)
    seen.add(segid).add(apid)
    r.release(2, apid)
    r.remove(1, segid)
  }
  assert.equal(seen.size, 100)
})

test('a process may have so many segments over all its sessions, and another as many again', () => {
  const r = populated({ segmentsPerGroup: 3 })
  const first = r.make(11, offer())
  r.make(11, offer())
  r.make(12, offer())
  assert.throws(() => r.make(11, offer()), { code: 'EMFILE', call: 'make' })
  assert.throws(() => r.make(12, offer({ name: 'x' })), { code: 'EMFILE' })
  assert.throws(() => r.find('x', 'get'), { code: 'ENOENT' }, 'the name was not taken')
  for (let count = 0; count < 3; count += 1) r.make(21, offer())
  r.remove(1, first.segid)
  r.make(12, offer())
  assert.throws(() => r.make(12, offer()), { code: 'EMFILE' })
})

test('a process may have so many permits, and a released one makes room', () => {
  const r = populated({ permitsPerGroup: 2 })
  const { segid } = r.make(21, offer())
  const { apid } = r.grant(11, segid, access.read)
  r.grant(12, segid, access.read)
  assert.throws(() => r.grant(11, segid, access.read), { code: 'EMFILE', call: 'get' })
  r.grant(31, segid, access.read)
  r.release(1, apid)
  r.grant(11, segid, access.read)
})

test('removal tells of each process that holds the memory, once', () => {
  const r = populated()
  const { segid } = r.make(11, offer())
  const permits = [
    r.grant(21, segid, access.read),
    r.grant(21, segid, access.readwrite),
    r.grant(31, segid, access.read),
  ]
  for (const { holder, apid } of permits) {
    r.hold(holder, segid, apid)
    r.hold(holder, segid, apid)
  }
  assert.deepEqual([...r.holders()].sort(), [2, 3])
  assert.deepEqual(r.remove(1, segid).holders.sort(), [2, 3])
})

test('a process with a permit and no descriptors is no holder', () => {
  const r = populated()
  const { segid } = r.make(11, offer())
  r.grant(21, segid, access.read)
  assert.deepEqual(r.remove(1, segid).holders, [])
})

test('a process that released the last permit it held memory with is no holder any more', () => {
  const r = populated()
  const { segid } = r.make(11, offer())
  const [one, two] = [r.grant(21, segid, access.read), r.grant(21, segid, access.read)]
  r.hold(2, segid, one.apid)
  r.hold(2, segid, two.apid)
  r.release(2, one.apid)
  assert.deepEqual([...r.holders()], [2])
  r.release(2, two.apid)
  assert.deepEqual([...r.holders()], [])
})

test('memory of a segment that has ended cannot be held', () => {
  const r = populated()
  const { segid } = r.make(11, offer())
  const { apid } = r.grant(21, segid, access.read)
  r.remove(1, segid)
  assert.throws(() => r.hold(2, segid, apid), { code: 'ENOENT', call: 'attach' })
})

test('the end of a session ends what it made and got, and nothing of the other session', () => {
  const r = populated()
  const mine = r.make(11, offer({ name: 'mine' }))
  const other = r.make(12, offer({ name: 'other' }))
  const { apid } = r.grant(11, other.segid, access.read)
  const held = r.grant(21, mine.segid, access.read)
  r.hold(2, mine.segid, held.apid)
  assert.deepEqual(r.endSession(11), [{ segment: mine, holders: [2] }])
  assert(!r.has(mine.segid))
  assert.equal(r.find('other', 'get'), other)
  assert.throws(() => r.permit(1, apid, 'attach'), { code: 'ENOENT' })
  assert.deepEqual(r.endSession(11), [])
  assert(r.hasSessions(1))
})

test('a session whose connection closed stays while something hangs on it', () => {
  const r = populated()
  r.leaveSession(21)
  assert(!r.hasSessions(2))
  const segment = r.make(31, offer())
  r.leaveSession(31)
  assert(r.hasSessions(3))
  r.remove(3, segment.segid)
  r.leaveSession(31)
  assert(!r.hasSessions(3))
  r.leaveSession(99)
})

test('a session left with something on it ends with the last of that', () => {
  const r = populated()
  const first = r.make(21, offer())
  const permit = r.grant(31, first.segid, access.read)
  r.leaveSession(21)
  r.leaveSession(31)
  r.release(3, permit.apid)
  assert(!r.hasSessions(3))
  r.remove(2, first.segid)
  assert(!r.hasSessions(2))
})

test('the end of a process ends its segments, and tells the others, not itself', () => {
  const r = populated()
  const first = r.make(11, offer())
  const second = r.make(12, offer())
  const foreign = r.make(31, offer())
  for (const [session, group] of [
    [11, 1],
    [21, 2],
  ] as const) {
    const { apid } = r.grant(session, first.segid, access.read)
    r.hold(group, first.segid, apid)
  }
  const permit = r.grant(11, foreign.segid, access.read)
  r.hold(1, foreign.segid, permit.apid)
  assert.deepEqual(r.endGroup(1), [
    { segment: first, holders: [2] },
    { segment: second, holders: [] },
  ])
  assert.equal(r.segmentCount, 1)
  assert.deepEqual([...r.holders()], [])
  assert(!r.hasSessions(1))
  assert.deepEqual(r.endGroup(1), [])
})

test('segments of one owner that share memory overlap; neighbours and those of others do not', () => {
  const r = populated()
  const base = r.make(11, offer({ address: 0x10000n, length: 8192 }))
  assert(!r.overlaps(base))
  r.make(11, offer({ address: 0x12000n }))
  r.make(11, offer({ address: 0xf000n }))
  r.make(21, offer({ address: 0x10000n }))
  assert(!r.overlaps(base))
  const inside = r.make(12, offer({ address: 0x11000n }))
  assert(r.overlaps(base))
  assert(r.overlaps(inside))
  r.remove(1, inside.segid)
  assert(!r.overlaps(base))
})

test('segments are told oldest first, with the permits on each', () => {
  const r = populated()
  const made = [r.make(11, offer()), r.make(21, offer()), r.make(31, offer())]
  r.grant(11, made[1]?.segid as bigint, access.read)
  r.grant(21, made[1]?.segid as bigint, access.read)
  assert.deepEqual([...r.segmentsAfter(0n)], made)
  assert.deepEqual(
    made.map(({ segid }) => r.permitCount(segid)),
    made.map((_, index) => (index === 1 ? 2 : 0)),
  )
})

test('segments come in the order of their identifiers from any of them on, whatever came, went and came back', () => {
  const random = new Random(3)
  const r = populated({ segmentsPerGroup: 1_000 })
  const old = (sequence: number) => packId({ partition: 1, incarnation: incarnation - 1, sequence })
  const there = new Set<bigint>()
  for (let step = 0; step < 600; step += 1) {
    const kind = random.below(3)
    if (kind === 0) there.add(r.make(11, offer()).segid)
    else if (kind === 1) there.add(r.restoreSegment(11, old(1 + random.below(50)), offer()).segid)
    const some = [...there][random.below(there.size)]
    if (kind === 2 && some !== undefined && there.delete(some)) r.remove(1, some)
    if (random.below(4) > 0) continue
    const sorted = [...there].sort((a, b) => (a < b ? -1 : 1))
    const from = random.below(sorted.length + 1)
    const cursor = sorted[from - 1] ?? 0n
    assert.deepEqual(
      [...r.segmentsAfter(cursor)].map(({ segid }) => segid),
      sorted.slice(from),
    )
    assert.equal([...r.segmentsAfter(cursor + 1n)].length, sorted.filter((segid) => segid > cursor + 1n).length)
  }
})

test('permits are counted as they are given and end', () => {
  const r = populated()
  const { segid } = r.make(11, offer())
  const permits = [21, 21, 31].map((session) => r.grant(session, segid, access.read))
  assert.equal(r.permitCount(segid), 3)
  r.release(2, permits[0]?.apid as bigint)
  assert.equal(r.permitCount(segid), 2)
  r.restorePermit(21, permits[1]?.apid as bigint, segid, access.read)
  assert.equal(r.permitCount(segid), 2, 'one that is there is no other')
  r.endGroup(3)
  assert.equal(r.permitCount(segid), 1)
  r.remove(1, segid)
  r.endSession(21)
  assert.equal(r.permitCount(segid), 0)
})

test('all processes together have as many segments and permits as there is memory for', () => {
  const r = populated({ segments: 2, permits: 3 })
  const first = r.make(11, offer())
  r.make(21, offer())
  assert.throws(() => r.make(31, offer()), { code: 'EMFILE', call: 'make' })
  const { apid } = r.grant(11, first.segid, access.read)
  for (const session of [21, 31]) r.grant(session, first.segid, access.read)
  assert.throws(() => r.grant(31, first.segid, access.read), { code: 'EMFILE' })
  assert.throws(() => r.restorePermit(31, 77n, first.segid, access.read), { code: 'EMFILE' })
  assert.equal(r.permitCount(first.segid), 3)
  r.release(1, apid)
  r.grant(31, first.segid, access.read)
})
