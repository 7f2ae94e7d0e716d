import assert from 'node:assert/strict'
import { closeSync, openSync } from 'node:fs'
import { test } from 'node:test'
import { kernel } from '../../src/kernel/index.js'
import { Allowance } from '../../src/service/allowance.js'
import { SegmentMemory } from '../../src/service/segment-memory.js'
import { access, extentFlag, hole, withheldReason, withheldShift } from '../../src/wire/schema.js'

const length = 8192

test('memory whose file cannot be asked how much it takes takes nothing', () => {
  const region = kernel.allocate(length, false)
  new Uint8Array(region).fill(1)
  const { descriptors } = kernel.backingOf(kernel.addressOf(region), length) ?? assert.fail()
  const memory = new SegmentMemory({ files: new Allowance(1), extents: new Allowance(8) }, true)
  const row = { offset: 0, length, fileOffset: 0, descriptor: 0, flags: 0 }
  memory.accept({ offset: 0, length, holes: false }, [row], descriptors)
  assert.equal(memory.usedBytes(), length)
  // A file that fails is hard to come by; a descriptor that is closed fails too.
  closeSync(descriptors[1])
  assert.equal(memory.usedBytes(), 0)
  while (openSync('/dev/null', 'r') !== descriptors[1]) {
    // The number is in use again before it is closed again.
  }
  memory.close()
  assert.equal(region.byteLength, length)
})

test('memory that an owner withholds is told as a hole with its reason, and is EFAULT to who takes none', () => {
  const memory = new SegmentMemory({ files: new Allowance(1), extents: new Allowance(8) }, false)
  const flags = extentFlag.withheld + withheldReason.text * 2 ** withheldShift
  const row = { offset: 0, length, fileOffset: 7 * length, descriptor: hole, flags }
  assert.throws(() => memory.accept({ offset: 0, length, holes: false }, [row], []), { code: 'EPROTO' })
  memory.accept({ offset: length, length, holes: true }, [row], [])
  assert.deepEqual(
    memory.known(length, length).map(({ fileOffset }) => fileOffset),
    [7 * length],
  )
  const wanted = { access: access.read, copyOf: () => undefined }
  assert.deepEqual(memory.answer(length, length, { ...wanted, bus: true }).rows, [
    { offset: length, length, fileOffset: 0, descriptor: hole, flags },
  ])
  assert.throws(() => memory.answer(length, length, { ...wanted, bus: false }), { code: 'EFAULT' })
  memory.close()
})
