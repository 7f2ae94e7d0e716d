import assert from 'node:assert/strict'
import { test } from 'node:test'
import { kernel } from '../../src/kernel/index.js'
import { Strangers } from '../../src/service/strangers.js'
import { Descriptor } from '../../src/transport/descriptor.js'

const mebibyte = 1024 * 1024

/** A file of 256 MiB that has so much content. */
function makeMemory(used: number): Descriptor {
  const memory = new Descriptor(kernel.createFile(256 * mebibyte))
  if (used > 0) kernel.populate(memory.number, 0, used)
  return memory
}

test('memory of which there is much is freed on another thread, as long as there is a service', (t) => {
  const apart = t.mock.method(kernel, 'closeApart')
  const release = (used: number) => {
    const memory = makeMemory(used)
    memory.release()
    const closed = apart.mock.calls.map(({ arguments: [descriptor] }) => descriptor)
    apart.mock.resetCalls()
    return { number: memory.number, apart: closed }
  }
  assert.deepEqual(release(16 * mebibyte).apart, [], 'there is none yet')
  const strangers = new Strangers(() => {})
  const much = release(16 * mebibyte)
  assert.deepEqual(much.apart, [much.number])
  assert.deepEqual(release(15 * mebibyte).apart, [])
  assert.deepEqual(release(0).apart, [])
  strangers.close()
  assert.deepEqual(release(16 * mebibyte).apart, [])
})
