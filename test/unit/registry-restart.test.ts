/** The registry after a restart of the service: what comes back, and what is waited for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { packId } from '../../src/ids.js'
import { type Limits, type Offer, Registry } from '../../src/service/registry.js'
import { access } from '../../src/wire/schema.js'

const incarnation = 9
/** Identifiers that the service before this one gave. */
const [segid, apid] = [1, 2].map((sequence) => packId({ partition: 1, incarnation: 8, sequence })) as [bigint, bigint]

function populated(limits: Partial<Limits> = {}): Registry {
  let sequence = 0
  const nextId = () => {
    sequence += 1
    return packId({ partition: 1, incarnation, sequence })
  }
  const made = new Registry(nextId, {
    segmentsPerGroup: 100,
    permitsPerGroup: 100,
    segments: 1_000,
    permits: 1_000,
    ...limits,
  })
  for (const session of [11, 12, 21, 31]) made.openSession(session, Math.floor(session / 10))
  return made
}

const offer: Offer = { address: 0n, length: 4096, dataLength: 1, mode: 0o600, name: 'n', uid: 1, gid: 1 }

test('a segment comes back with the identifier and the name it had', () => {
  const r = populated()
  const segment = r.restoreSegment(11, segid, offer)
  assert.deepEqual([segment.segid, segment.origin, segment.owner], [segid, 'earlier', 1])
  assert.equal(r.find('n', 'get'), segment)
})

test('a segment restored again moves to the session that said so, and ends with it', () => {
  const r = populated()
  const segment = r.restoreSegment(11, segid, offer)
  assert.equal(r.restoreSegment(12, segid, offer), segment)
  assert.deepEqual(r.endSession(11), [])
  assert.deepEqual(r.endSession(12), [{ segment, holders: [] }])
})

test("a process cannot restore another's segment or permit", () => {
  const r = populated()
  r.restoreSegment(11, segid, offer)
  assert.throws(() => r.restoreSegment(21, segid, offer), { code: 'EACCES', call: 'make' })
  r.restorePermit(11, apid, segid, access.read)
  assert.throws(() => r.restorePermit(21, apid, segid, access.read), { code: 'EACCES', call: 'restore' })
})

test('a permit comes back before its segment does', () => {
  const r = populated()
  const permit = r.restorePermit(21, apid, segid, access.readwrite)
  assert.equal(r.permit(2, apid, 'attach'), permit)
  assert.throws(() => r.find(permit.segid, 'attach'), { code: 'ENOENT' })
  r.restoreSegment(11, segid, offer)
  assert.equal(r.find(permit.segid, 'attach').segid, segid)
})

test('a permit restored again moves to the session that said so', () => {
  const r = populated()
  r.restorePermit(11, apid, segid, access.read)
  r.restorePermit(12, apid, segid, access.read)
  r.endSession(11)
  assert.equal(r.permit(1, apid, 'attach').apid, apid)
  r.endSession(12)
  assert.throws(() => r.permit(1, apid, 'attach'), { code: 'ENOENT' })
})

test('who told of a segment before its owner came back is its holder when it does', () => {
  const r = populated()
  assert.equal(r.heldElsewhere(2, segid, incarnation), 'awaited')
  assert.equal(r.heldElsewhere(2, segid, incarnation), 'awaited')
  assert.equal(r.heldElsewhere(3, segid, incarnation), 'awaited')
  r.restoreSegment(11, segid, offer)
  assert.deepEqual(r.remove(1, segid).holders.sort(), [2, 3])
})

test('who tells of a segment after its owner came back is its holder at once', () => {
  const r = populated()
  r.restoreSegment(11, segid, offer)
  assert.equal(r.heldElsewhere(2, segid, incarnation), 'known')
  assert.deepEqual(r.remove(1, segid).holders, [2])
})

test('who says that it holds a segment of this very service, and was never given it, is no holder', () => {
  const r = populated()
  const made = r.make(11, offer)
  assert.equal(r.heldElsewhere(2, made.segid, incarnation), 'known')
  assert.deepEqual(r.remove(1, made.segid).holders, [])
})

test('a session left ends when its segment and its permit come back in another', () => {
  const r = populated()
  r.restoreSegment(21, segid, offer)
  r.restorePermit(21, apid, segid, access.read)
  r.leaveSession(21)
  assert(r.hasSessions(2))
  r.openSession(22, 2)
  r.restoreSegment(22, segid, offer)
  r.restorePermit(22, apid, segid, access.read)
  assert.deepEqual(r.endSession(21), [])
  r.endSession(22)
  assert(!r.hasSessions(2))
})

test('a segment restored and removed since is gone to who tells of it late', () => {
  const r = populated()
  r.restoreSegment(11, segid, offer)
  r.remove(1, segid)
  assert.equal(r.heldElsewhere(2, segid, incarnation), 'gone')
})

test('a segment of this service that is not there is gone, not awaited', () => {
  const r = populated()
  const made = r.make(11, offer)
  r.remove(1, made.segid)
  assert.equal(r.heldElsewhere(2, made.segid, incarnation), 'gone')
})

test('an awaited segment is given up once, to all who told of it', () => {
  const r = populated()
  r.heldElsewhere(2, segid, incarnation)
  r.heldElsewhere(3, segid, incarnation)
  assert.deepEqual(r.giveUpAwaited(segid).sort(), [2, 3])
  assert.deepEqual(r.giveUpAwaited(segid), [])
})

test('a process may await so many segments, and one given up makes room', () => {
  const r = populated({ segmentsPerGroup: 2 })
  assert.equal(r.heldElsewhere(2, segid, incarnation), 'awaited')
  assert.equal(r.heldElsewhere(2, segid + 1n, incarnation), 'awaited')
  assert.throws(() => r.heldElsewhere(2, segid + 2n, incarnation), { code: 'EMFILE' })
  assert(!r.isAwaited(segid + 2n))
  assert.equal(r.heldElsewhere(2, segid, incarnation), 'awaited', 'again')
  assert.equal(r.heldElsewhere(3, segid + 2n, incarnation), 'awaited', 'another process')
  r.giveUpAwaited(segid)
  assert.equal(r.heldElsewhere(2, segid + 2n, incarnation), 'awaited')
  r.endGroup(2)
  assert.equal(r.heldElsewhere(2, segid, incarnation), 'awaited')
})

test('a process that is gone awaits nothing', () => {
  const r = populated()
  r.heldElsewhere(2, segid, incarnation)
  r.heldElsewhere(3, segid, incarnation)
  r.endGroup(2)
  assert.deepEqual(r.giveUpAwaited(segid), [3])
})

test('a restored segment counts against the limit of its process', () => {
  const r = populated({ segmentsPerGroup: 1 })
  r.restoreSegment(11, segid, offer)
  assert.throws(() => r.make(11, { ...offer, name: '' }), { code: 'EMFILE' })
})

test('a name taken meanwhile is EEXIST to the segment that had it before the restart', () => {
  const r = populated()
  r.make(21, offer)
  assert.throws(() => r.restoreSegment(11, segid, offer), { code: 'EEXIST' })
  assert(!r.has(segid))
})
