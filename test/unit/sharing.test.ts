import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Allowance } from '../../src/service/allowance.js'
import type { Groups } from '../../src/service/groups.js'
import type { Segment } from '../../src/service/registry.js'
import { SegmentMemory } from '../../src/service/segment-memory.js'
import { shareRange } from '../../src/service/sharing.js'
import { hole } from '../../src/wire/schema.js'

const page = 4096
const mebibyte = 2 ** 20

/** An owner whose agent answers each request with a hole of `stepBytes` and takes `stepMs`. */
function scene(length: number, stepBytes: number, stepMs: number) {
  const state = { nowMs: 0, steps: 0, closed: false, stopAfter: Number.POSITIVE_INFINITY }
  const agent = {
    async request(_: string, { length }: { length: number }) {
      state.nowMs += stepMs
      state.steps += 1
      if (state.steps === state.stopAfter) state.closed = true
      const row = { offset: 0, length: Math.min(length, stepBytes), fileOffset: 0, descriptor: hole, reserved: 0 }
      return { message: { name: 'extents', rows: [row] }, descriptors: [] }
    },
  }
  const group = { agentWithin: async () => agent, mappings: () => [] }
  const groups = { get: () => group } as unknown as Groups
  const memory = new SegmentMemory({ files: new Allowance(1), extents: new Allowance(1_000) }, false)
  const segment = { owner: 1, address: 0n, length } as Segment
  const share = () =>
    shareRange(segment, memory, { offset: 0, length, holes: true }, state, {
      groups,
      agentTimeoutMs: 2_000,
      nowMs: () => state.nowMs,
    })
  return { state, memory, share }
}

test('an owner that shares page by page, each just in time, does not keep an attach going', async () => {
  const { state, share } = scene(2 ** 40, page, 1_900)
  await assert.rejects(share(), { code: 'ETIMEDOUT' })
  assert(state.steps < 10, `${state.steps} steps`)
})

test('an owner that shares much is waited for as long as it takes', async () => {
  const { state, memory, share } = scene(1_024 * mebibyte, 16 * mebibyte, 1_900)
  await share()
  assert.equal(state.steps, 64)
  assert.equal(memory.firstGap(0, 1_024 * mebibyte), undefined)
})

test('an attach that nobody waits for any more asks the owner for nothing more', async () => {
  const { state, share } = scene(1_024 * mebibyte, mebibyte, 1)
  state.stopAfter = 3
  await assert.rejects(share(), { code: 'ECANCELED' })
  assert.equal(state.steps, 3)
  await assert.rejects(share(), { code: 'ECANCELED' })
  assert.equal(state.steps, 3, 'nor does one that was asked for before')
})
