import assert from 'node:assert/strict'
import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { kernel } from '../../src/kernel/index.js'
import { type FaultHandler, PagedFile } from '../../src/pager/paged-file.js'
import { ProcessPager } from '../../src/pager/process-pager.js'
import { Descriptor } from '../../src/transport/descriptor.js'
import { runtimeDirectory } from '../support/service.js'
import { until } from '../support/until.js'
import { idleHandler } from './idle-handler.js'

const page = kernel.pageSize

/** A pager that no fault comes to, since its descriptor is of a socket. */
function makePager(t: TestContext): { pager: ProcessPager; file: PagedFile } {
  const pager = new ProcessPager(kernel.listen(join(runtimeDirectory(t), 'sock'), 1), () => undefined)
  const file = new PagedFile(new Descriptor(kernel.createFile(100 * page)))
  t.after(() => {
    pager.close()
    file.close()
  })
  return { pager, file }
}

function within(pager: ProcessPager, first: number, count: number): number[][] {
  const parts = [...pager.within({ address: first * page, length: count * page })]
  return parts.map((part) => [part.first, part.count])
}

test('what of a process lies in a range is told with the pages of its file', (t) => {
  const { pager, file } = makePager(t)
  pager.add(file, idleHandler, { address: 10 * page, length: 4 * page, fileOffset: 50 * page })
  pager.add(file, idleHandler, { address: 20 * page, length: 4 * page, fileOffset: 0 })
  assert.deepEqual(within(pager, 0, 10), [])
  assert.deepEqual(within(pager, 0, 11), [[50, 1]])
  assert.deepEqual(within(pager, 12, 9), [
    [52, 2],
    [0, 1],
  ])
  assert.deepEqual(within(pager, 14, 6), [])
})

test('memory that is mapped over other memory takes its place', (t) => {
  const { pager, file } = makePager(t)
  for (const at of [10, 14, 18])
    pager.add(file, idleHandler, { address: at * page, length: 4 * page, fileOffset: at * page })
  pager.add(file, idleHandler, { address: 13 * page, length: 2 * page, fileOffset: 0 })
  assert.deepEqual(within(pager, 0, 100), [
    [0, 2],
    [18, 4],
  ])
})

test('a process that maps without end is told EMFILE, and what it had is kept', (t) => {
  const { pager, file } = makePager(t)
  const add = (at: number) => pager.add(file, idleHandler, { address: at * page, length: page, fileOffset: 0 })
  for (let at = 0; at < 65_536; at += 1) add(at)
  assert.throws(() => add(65_536), { code: 'EMFILE' })
  add(7)
  assert.equal(within(pager, 0, 70_000).length, 65_536)
})

const pagefault = 0x12
const remap = 0x14

/** Of linux/userfaultfd.h: struct uffd_msg. */
function message(event: number, ...words: number[]): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(32))
  bytes.setUint8(0, event)
  words.forEach((word, index) => {
    bytes.setBigUint64(8 + 8 * index, BigInt(word), true)
  })
  return new Uint8Array(bytes.buffer)
}

test('memory that moves twice is found where it was moved last, though the second move is read while the first waits', async (t) => {
  const [events, process] = kernel.pipe()
  const pager = new ProcessPager(events, () => undefined)
  const file = new PagedFile(new Descriptor(kernel.createFile(100 * page)))
  t.after(() => {
    pager.close()
    file.close()
    kernel.close(process)
  })
  const faults: number[] = []
  const moving: FaultHandler = {
    ...idleHandler,
    fault: (first) => {
      faults.push(first)
      if (faults.length > 1) return
      // It stored to what it moved, and moves it again, while the first fault is being answered.
      writeSync(process, message(pagefault, 0, 20 * page))
      writeSync(process, message(remap, 20 * page, 30 * page, 4 * page))
      pager.settle()
    },
  }
  pager.add(file, moving, { address: 10 * page, length: 4 * page, fileOffset: 50 * page })
  writeSync(
    process,
    Buffer.concat([
      message(pagefault, 0, 11 * page),
      message(remap, 10 * page, 20 * page, 4 * page),
      message(pagefault, 0, 21 * page),
    ]),
  )
  await until(() => faults.length === 3)
  assert.deepEqual(faults, [51, 51, 50])
  assert.deepEqual(within(pager, 30, 4), [[50, 4]])
})
