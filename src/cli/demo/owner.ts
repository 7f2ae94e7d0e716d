/** The demo's owner: offers two Arrow tables, changes a value when told. */
import { readFileSync } from 'node:fs'
import { Partition } from '../../client/partition.js'
import { dataset, flightsName, flightsWithOrigin, loadArrow, originsName } from './data.js'

const tell = (say: string, more: object = {}) => process.send?.({ say, ...more })

const started = performance.now()
const file = readFileSync(dataset('flights-200k.arrow'))
const origins = await flightsWithOrigin()
const read = performance.now()

const partition = await Partition.open()
const opened = performance.now()

const region = Partition.copyOf(file)
await partition.make(region, { name: flightsName, dataLength: file.length })
await partition.make(Partition.copyOf(origins), { name: originsName, dataLength: origins.length })
const made = performance.now()

tell('made', { bytes: file.length, readMs: read - started, openMs: opened - read, makeMs: made - opened })

process.on('message', async ({ say }: { say: string }) => {
  const { tableFromIPC } = await loadArrow()
  const table = tableFromIPC(new Uint8Array(region, 0, file.length))
  const delays = table.batches[0]?.getChild('delay')?.data[0]?.values as Int16Array
  if (say === 'look') tell('look', { delay: delays[0] })
  if (say !== 'change') return
  const before = delays[0]
  delays[0] = 9_999
  tell('change', { before, after: delays[0] })
})
