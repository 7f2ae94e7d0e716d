/** A reader of the demo: computes over the owner's memory without copying it. */
import type { Data, Table } from 'apache-arrow'
import type { Attachment } from '../../client/attachment.js'
import { Partition } from '../../client/partition.js'
import { XpmemError } from '../../errors.js'
import { flightsName, loadArrow, originsName } from './data.js'
import { meansBy, meansByHour } from './means.js'

const tell = (say: string, more: object = {}) => process.send?.({ say, ...more })

/** `keep`: what the segments held stays readable when the owner is gone. */
const onOwnerExit = process.env.XPMEM_DEMO_KEEP === '1' ? 'keep' : 'revoke'

const { tableFromIPC } = await loadArrow()

/** Every buffer that a column consists of, its dictionary's too. */
function buffersOf(data: Data): ArrayBufferLike[] {
  const own = [data.values, data.valueOffsets, data.nullBitmap, data.typeIds]
  const parts = own.filter((part) => part !== undefined && part.byteLength > 0).map((part) => part.buffer)
  const dictionary = (data.dictionary?.data ?? []).flatMap(buffersOf)
  return [...parts, ...data.children.flatMap(buffersOf), ...dictionary]
}

function tableIn(attachment: Attachment): { table: Table; buffers: number } {
  const table = tableFromIPC(new Uint8Array(attachment.buffer, 0, attachment.permit.dataLength))
  const buffers = table.batches.flatMap(({ data }) => buffersOf(data))
  const outside = buffers.filter((buffer) => buffer !== attachment.buffer).length
  if (outside > 0) throw new Error(`${outside} of ${buffers.length} buffers were copied out of the attachment`)
  return { table, buffers: buffers.length }
}

const started = performance.now()
const partition = await Partition.open()
const opened = performance.now()
const flightsPermit = await partition.get(flightsName)
const originsPermit = await partition.get(originsName)
const flightsMemory = await flightsPermit.attach({ onOwnerExit })
const originsMemory = await originsPermit.attach({ onOwnerExit })
const attached = performance.now()
const flights = tableIn(flightsMemory)
const origins = tableIn(originsMemory)
const originOf = origins.table.getChild('origin')
const delays = flights.table.getChild('delay')?.toArray() as Int16Array
const parsed = performance.now()

function compute() {
  return {
    byHour: meansByHour(flights.table),
    byOrigin: meansBy(origins.table, (row) => `${originOf?.get(row)}`).sort((a, b) => b.flights - a.flights),
  }
}

const first = compute()
tell('computed', {
  ...first,
  rows: [flights.table.numRows, origins.table.numRows],
  buffers: flights.buffers + origins.buffers,
  openMs: opened - started,
  attachMs: attached - opened,
  parseMs: parsed - attached,
  computeMs: performance.now() - parsed,
})

flightsMemory.once('revoked', (why) => tell('revoked', { why, bytes: flightsMemory.buffer.byteLength }))

/** Whether the owner's segment is still there to get. */
async function ownerIsGone(): Promise<boolean> {
  try {
    await (await partition.get(flightsName)).release()
    return false
  } catch (error) {
    if (error instanceof XpmemError && error.code === 'ENOENT') return true
    throw error
  }
}

process.on('message', async ({ say }: { say: string }) => {
  if (say === 'look') tell('look', { delay: delays[0], meanHour0: compute().byHour[0]?.meanDelay })
  if (say === 'after') tell('after', { gone: await ownerIsGone(), length: delays.length, delay: delays[0] })
  if (say === 'leave') {
    await partition.close()
    process.disconnect()
  }
})
