/** The worker threads of the tests: attach and write, make and wait, or count in shared memory. */
import { parentPort, workerData } from 'node:worker_threads'
import { Partition } from '../../src/index.js'

interface Orders {
  readonly runtimeDir: string
  readonly apid?: bigint
  readonly write?: string
  readonly name?: string
  readonly make?: boolean
  readonly count?: SharedArrayBuffer
  readonly stop?: Int32Array
  readonly seed?: number
}

const orders = workerData as Orders
const tell = (word: string | number) => parentPort?.postMessage(word)

async function writeWith(apid: bigint, word: string): Promise<void> {
  const partition = await Partition.open({ runtimeDir: orders.runtimeDir, autoStart: false })
  const attachment = await partition.attach(apid)
  new Uint8Array(attachment.buffer).set(Buffer.from(word))
  const stay = setInterval(() => {}, 60_000)
  attachment.once('revoked', async () => {
    clearInterval(stay)
    tell('revoked')
    await partition.close()
  })
  tell('written')
}

async function shareAndWait(name: string): Promise<void> {
  const partition = await Partition.open({ runtimeDir: orders.runtimeDir, autoStart: false })
  const permit = await partition.get(name)
  const attachment = await permit.attach()
  await partition.make(partition.allocate(4096))
  setInterval(() => attachment.revoked, 60_000)
  tell('attached')
}

/** Adds to random cells, with atomic instructions, until told to stop. */
function count(memory: SharedArrayBuffer, stop: Int32Array, seed: number): void {
  const cells = new Int32Array(memory)
  let state = seed
  let sum = 0
  tell('counting')
  while (Atomics.load(stop, 0) === 0) {
    for (let turn = 0; turn < 1_000; turn += 1) {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      Atomics.add(cells, (state >>> 4) % cells.length, 1)
    }
    sum += 1_000
  }
  tell(sum)
}

if (orders.count !== undefined) count(orders.count, orders.stop as Int32Array, orders.seed as number)
else if (orders.apid !== undefined) await writeWith(orders.apid, orders.write as string)
else await shareAndWait(orders.name as string)
