/** The process behind an `Actor`: each function here can be called by the test. */
import { setgroups } from 'node:process'
import {
  Attachment,
  type AttachOptions,
  type MakeOptions,
  type OpenOptions,
  Partition,
  Permit,
  Segment,
} from '../../src/index.js'

const things = new Map<number, unknown>()
let lastHandle = 0
let partition: Partition

function keep(thing: unknown): number {
  lastHandle += 1
  things.set(lastHandle, thing)
  return lastHandle
}

function thing<T>(handle: number, type: abstract new (...args: never[]) => T): T {
  const found = things.get(handle)
  if (found instanceof type) return found
  throw new Error(`handle ${handle} is no ${type.name}`)
}

function tell(event: string): void {
  process.send?.({ event })
}

function bytesOf(handle: number): Uint8Array {
  const found = things.get(handle)
  if (found instanceof Attachment) return new Uint8Array(found.buffer)
  if (found instanceof WebAssemblyMemory) return new Uint8Array(found.buffer)
  return new Uint8Array(found as ArrayBuffer)
}

/** The global, whose types are not everywhere. */
const WebAssemblyMemory = (
  globalThis as unknown as {
    WebAssembly: {
      Memory: new (options: { initial: number; maximum?: number; shared?: boolean }) => { buffer: ArrayBufferLike }
    }
  }
).WebAssembly.Memory

const calls = {
  async open(options: OpenOptions & { groups?: number[] }) {
    if (options.groups !== undefined) setgroups?.(options.groups)
    partition = await Partition.open(options)
    partition.on('disconnected', () => tell('disconnected'))
    partition.on('reconnected', () => tell('reconnected'))
  },
  allocate: (length: number) => keep(partition.allocate(length)),
  wasm: (pages: number) => keep(new WebAssemblyMemory({ initial: pages })),
  async make(memory: number, options?: MakeOptions) {
    const segment = await partition.make(things.get(memory) as ArrayBuffer, options)
    return { handle: keep(segment), segid: segment.segid as bigint }
  },
  async get(segment: bigint | string, access?: 'read' | 'readwrite') {
    const permit = await partition.get(segment, access)
    return { handle: keep(permit), apid: permit.apid as bigint, length: permit.length, dataLength: permit.dataLength }
  },
  async attach(permit: number, options?: AttachOptions) {
    const attachment = await thing(permit, Permit).attach(options)
    const handle = keep(attachment)
    attachment.on('revoked', (why) => tell(`revoked:${handle}:${why}`))
    return handle
  },
  async attachApid(apid: bigint, options?: AttachOptions) {
    return keep(await partition.attach(apid, options))
  },
  detach: (attachment: number) => thing(attachment, Attachment).detach(),
  release: (permit: number) => thing(permit, Permit).release(),
  releaseApid: (apid: bigint) => partition.release(apid),
  remove: (segment: number) => thing(segment, Segment).remove(),
  removeSegid: (segid: bigint) => partition.remove(segid),
  list: () => partition.list(),
  close: () => partition.close(),
  read: (memory: number, offset: number, length: number) => bytesOf(memory).slice(offset, offset + length),
  write: (memory: number, offset: number, bytes: Uint8Array) => bytesOf(memory).set(bytes, offset),
  byteLength: (attachment: number) => thing(attachment, Attachment).buffer.byteLength,
  revoked: (attachment: number) => thing(attachment, Attachment).revoked,
  addressOf: (attachment: number) => thing(attachment, Attachment).address,
  forget: (handle: number) => {
    things.delete(handle)
  },
  gc: () => (globalThis as unknown as { gc(): void }).gc(),
  /** Keeps the event loop busy until the byte at the offset of the memory is no longer `value`. */
  spin(memory: number, offset: number, value: number) {
    const bytes = new Uint8Array(
      (things.get(memory) as { buffer?: ArrayBuffer }).buffer ?? (things.get(memory) as ArrayBuffer),
    )
    tell('spinning')
    let turns = 0
    while (Atomics.load(bytes, offset) === value) turns += 1
    return turns
  },
} satisfies Record<string, (...args: never[]) => unknown>

process.on('message', async ({ id, name, args }: { id: number; name: keyof typeof calls; args: never[] }) => {
  try {
    const value = await (calls[name] as (...args: never[]) => unknown)(...args)
    process.send?.({ id, value })
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException
    process.send?.({ id, error: { message, code: code ?? (error as Error).stack } })
  }
})
process.once('disconnect', () => process.exit())
