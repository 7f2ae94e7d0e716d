/**
 * Every failure is an XpmemError with a code, and says what to do.
 * Run it: node dist/examples/errors.js
 */
import assert from 'node:assert/strict'
import { type ErrorCode, Partition, XpmemError } from 'xpmem'

async function show(expected: ErrorCode, work: () => unknown): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof XpmemError)) throw error
    console.log(`${error.code.padEnd(7)} ${error.call.padEnd(7)} ${error.message}`)
    assert.equal(error.code, expected)
    return
  }
  assert.fail(`${expected} was expected`)
}

await using partition = await Partition.open()
const name = `errors-${process.pid}`
const region = partition.allocate(8192)
const segment = await partition.make(region, { name })
const permit = await partition.get(name, 'read')

await show('ENOENT', () => partition.get('no-such-name'))
await show('EEXIST', () => partition.make(partition.allocate(4096), { name }))
await show('EINVAL', () => partition.make(new Uint8Array(100)))
await show('EINVAL', () => permit.attach({ offset: 100 }))
await show('EINVAL', () => permit.attach({ offset: 4096, length: 8192 }))
await show('EINVAL', () => partition.detach(new ArrayBuffer(4096)))

// What make asks for where memory is not made of whole pages.
await using copied = await partition.make(Partition.copyOf(new TextEncoder().encode('some text')))
console.log(`        copyOf  ${copied.length} bytes are offered`)

await segment.remove()
await show('ENOENT', () => permit.attach())
await show('ENOENT', () => segment.remove())
await permit.release()
await show('ENOENT', () => permit.release())
