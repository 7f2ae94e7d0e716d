/** The stress test's attacher in TypeScript: looks at live buffers of the owner and writes its word in them. */
import { Partition, type Permit } from '../../src/index.js'
import { Control, controlBytes, slotCount, wordOffset, wrongIn } from './control.js'

const page = 4096
const [runtimeDir = '', segid = '', controlAddress = '', index = '', seed = ''] = process.argv.slice(2)

let state = Number(seed) | 1
function random(): number {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return state >>> 0
}

async function attachBytes(permit: Permit, address: bigint, length: number) {
  const inPage = Number(address % BigInt(page))
  const attachment = await permit.attach({ offset: Number(address) - inPage, length: inPage + length })
  return { attachment, bytes: new Uint8Array(attachment.buffer, inPage, length) }
}

async function look(permit: Permit, control: Control, slot: number): Promise<boolean> {
  const buffer = control.pin(slot)
  if (buffer === undefined) return false
  try {
    const { attachment, bytes } = await attachBytes(permit, buffer.address, buffer.length)
    const wrong = wrongIn(bytes, buffer)
    if (wrong !== undefined) throw new Error(wrong)
    const at = wordOffset(Number(index), buffer.length)
    if (at !== undefined) {
      const word = random()
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, word, true)
      control.note(slot, Number(index), word)
    }
    attachment.detach()
    return true
  } finally {
    control.unpin(slot)
  }
}

async function run(): Promise<number> {
  await using partition = await Partition.open({ runtimeDir, autoStart: false })
  const permit = await partition.get(BigInt(segid), 'readwrite')
  const { attachment } = await attachBytes(permit, BigInt(controlAddress), controlBytes)
  const control = new Control(attachment.buffer as ArrayBuffer)
  let looks = 0
  try {
    while (!control.stopped) looks += (await look(permit, control, random() % slotCount)) ? 1 : 0
  } finally {
    control.stop()
  }
  return looks
}

process.stdout.write(`${await run()}\n`)
