/** The demo's reader in the other partition: computes over far memory, and changes a value of it. */
import { Partition } from '../../client/partition.js'
import { kernel } from '../../kernel/index.js'
import { flightsName, loadArrow } from './data.js'
import { meansByHour } from './means.js'

const tell = (say: string, more: object = {}) => process.send?.({ say, ...more })

const { tableFromIPC } = await loadArrow()
const partition = await Partition.open()
const started = performance.now()
const permit = await partition.get(`here/${flightsName}`, 'readwrite')
const memory = await permit.attach()
const attached = performance.now()
const table = tableFromIPC(new Uint8Array(memory.buffer, 0, permit.dataLength))
const byHour = meansByHour(table)
const computed = performance.now()
const { pagesIn } = await memory.stats()

tell('computed', {
  byHour,
  attachMs: attached - started,
  computeMs: computed - attached,
  pagesMoved: pagesIn,
  pages: memory.length / kernel.pageSize,
})

process.on('message', async ({ say }: { say: string }) => {
  if (say === 'change') {
    const delays = table.getChild('delay')?.toArray() as Int16Array
    const before = delays[0]
    delays[0] = 4_242
    tell('change', { before, after: delays[0] })
  }
  if (say === 'leave') {
    await partition.close()
    process.disconnect()
  }
})
