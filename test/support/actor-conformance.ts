/** Calls of an actor that only the cases of test/conformance make; the C actor has the same. */
import type { AttachOptions, MakeOptions, Partition, Segment } from '../../src/index.js'
import { kernel } from '../../src/kernel/index.js'
import { pattern } from './pattern.js'

export interface Host {
  partition(): Partition
  keep(thing: unknown): number
  bytesOf(handle: number): Uint8Array
  offer(segment: Segment): { handle: number; segid: bigint }
}

export function conformanceCalls({ partition, keep, bytesOf, offer }: Host) {
  async function visit(segid: bigint, index: number): Promise<void> {
    await using permit = await partition().get(segid, 'readwrite')
    const attachment = await permit.attach({ length: kernel.pageSize })
    Atomics.add(new Uint32Array(attachment.buffer), index, 1)
    attachment.detach()
  }

  async function offerAndVisit(index: number): Promise<void> {
    const page = partition().allocate(kernel.pageSize)
    const segment = await partition().make(page)
    await visit(segment.segid, index)
    if (new Uint32Array(page)[index] !== 1) throw new Error('the alias is another memory')
    await segment.remove()
  }

  return {
    /** Memory that is not xpmem's own. */
    live: (length: number) => keep(new WasmMemory({ initial: Math.ceil(length / 65_536) })),
    async makeEverything(options?: MakeOptions) {
      const length = 2 ** 47 - kernel.pageSize
      return offer(await partition().make({ address: 0n, length }, options))
    },
    fill(memory: number, offset: number, length: number, seed: number) {
      const bytes = bytesOf(memory)
      for (let at = 0; at < length; at += 1) bytes[offset + at] = pattern(at, seed)
    },
    /** Where the first byte is that is not the pattern's, or -1. */
    compare(memory: number, offset: number, length: number, seed: number) {
      const bytes = bytesOf(memory)
      for (let at = 0; at < length; at += 1) if (bytes[offset + at] !== pattern(at, seed)) return at
      return -1
    },
    /** So many chains of calls at once; each makes, gets, attaches, detaches, releases, removes. */
    async crowd(count: number, rounds: number, { segid }: { segid?: bigint } = {}) {
      const chain = async (_: unknown, index: number) => {
        for (let round = 0; round < rounds; round += 1)
          await (segid === undefined ? offerAndVisit(index) : visit(segid, index))
      }
      await Promise.all(Array.from({ length: count }, chain))
    },
  }
}

/** What an actor adds to the options of each attach. */
export const attachDefaults: { onOwnerExit?: NonNullable<AttachOptions['onOwnerExit']> } = {}

/** The global, whose types are not everywhere. */
export const WasmMemory = (
  globalThis as unknown as {
    WebAssembly: {
      Memory: new (options: { initial: number; maximum?: number; shared?: boolean }) => { buffer: ArrayBufferLike }
    }
  }
).WebAssembly.Memory
