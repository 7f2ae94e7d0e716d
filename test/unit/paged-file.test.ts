import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { kernel, type Mapping } from '../../src/kernel/index.js'
import { PagedFile } from '../../src/pager/paged-file.js'
import { ProcessPager } from '../../src/pager/process-pager.js'
import { Descriptor } from '../../src/transport/descriptor.js'
import { runtimeDirectory } from '../support/service.js'
import { idleHandler } from './idle-handler.js'

const page = kernel.pageSize
const filePages = 4_096
/** Where the process mapped the file at first. Pages. */
const base = 1_000

/** Of an address space, in pages: from the first to before the end. */
interface Area {
  readonly first: number
  readonly end: number
  readonly isRegistered: boolean
}

const asMapping = ({ first, end }: Area): Mapping => ({
  start: BigInt(first * page),
  end: BigInt(end * page),
  readable: true,
  shared: true,
  identity: '',
  fileOffset: 0,
  mark: 0,
})

/**
 * A process that has mapped all of a file once, and has that of it by now, as the kernel answers for it:
 * by Linux 6.1 what is protected in one call lies in one area that is registered.
 */
function makeProcess(t: TestContext, areas: readonly Area[], isSeen: boolean, looked = () => {}) {
  const marked = new Set<number>()
  let calls = 0
  t.mock.method(kernel, 'protect', (_: number, address: number, length: number, on: boolean) => {
    calls += 1
    const [first, end] = [address / page, (address + length) / page]
    if (!areas.some((area) => area.isRegistered && area.first <= first && end <= area.end)) return 0
    for (let at = first; at < end; at += 1) on ? marked.add(at) : marked.delete(at)
    return length
  })
  const look = (address: bigint, length: number) => {
    const [first, end] = [Number(address) / page, (Number(address) + length) / page]
    const seen = areas.filter((area) => area.first < end && first < area.end).map(asMapping)
    looked()
    return seen
  }
  const pager = new ProcessPager(kernel.listen(join(runtimeDirectory(t), 'sock'), 1), isSeen ? look : () => undefined)
  const file = new PagedFile(new Descriptor(kernel.createFile(filePages * page)))
  pager.add(file, idleHandler, { address: base * page, length: filePages * page, fileOffset: 0 })
  t.after(() => {
    pager.close()
    file.close()
  })
  return { file, marked, calls: () => calls }
}

const end = base + filePages
const whatIsLeft: [what: string, areas: Area[]][] = [
  ['nothing', []],
  ['all of it', [{ first: base, end, isRegistered: true }]],
  ['its beginning', [{ first: base - 5, end: base + 10, isRegistered: true }]],
  ['its end', [{ first: end - 3, end: end + 7, isRegistered: true }]],
  ['other memory', [{ first: base - 1, end: end + 1, isRegistered: false }]],
  [
    'pieces between other memory',
    [
      { first: base + 1, end: base + 2, isRegistered: true },
      { first: base + 2, end: base + 900, isRegistered: false },
      { first: base + 900, end: base + 1_900, isRegistered: true },
      { first: base + 3_000, end: base + 3_001, isRegistered: true },
      { first: base + 3_001, end: base + 3_500, isRegistered: true },
    ],
  ],
]

for (const [what, areas] of whatIsLeft) {
  const expected = areas.flatMap(({ first, end: stop, isRegistered }) =>
    isRegistered ? Array.from({ length: stop - first }, (_, index) => first + index) : [],
  )
  const mapped = expected.filter((at) => base <= at && at < end)

  test(`of a file of which a process has ${what} left, just that is protected, in few calls`, (t) => {
    const { file, marked, calls } = makeProcess(t, areas, true)
    file.protect(0, filePages)
    assert.deepEqual(
      [...marked].sort((a, b) => a - b),
      mapped,
    )
    assert.ok(calls() <= 2 + 2 * areas.length, `${calls()} calls`)
  })

  test(`and where its mappings cannot be seen, all the same, with ${what} left`, (t) => {
    const { file, marked } = makeProcess(t, areas, false)
    file.protect(0, filePages)
    assert.deepEqual(
      [...marked].sort((a, b) => a - b),
      mapped,
    )
    file.unprotect(0, filePages)
    assert.equal(marked.size, 0)
  })
}

test('what a process unmaps while it is looked at is passed over, and the rest is protected', (t) => {
  const areas = [{ first: base, end, isRegistered: false }]
  const left = [500, 400].map((count) => ({ first: base, end: base + count, isRegistered: true }))
  const { file, marked } = makeProcess(t, areas, true, () => {
    // All of it is seen, which is other memory; then it is not any more, and less and less of it.
    const next = left.shift()
    if (next !== undefined) areas[0] = next
  })
  file.protect(0, filePages)
  assert.deepEqual(
    [...marked],
    Array.from({ length: 400 }, (_, index) => base + index),
  )
})
