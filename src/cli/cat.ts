import { Command } from 'commander'
import { Partition } from '../client/partition.js'
import type { Permit } from '../client/permit.js'
import { XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import { type PartitionOptions, parseCount, withPartitionOptions } from './options.js'

interface CatOptions extends PartitionOptions {
  readonly offset: number
  readonly length?: number
}

/** Bytes attached at once: any segment can be read, however long an ArrayBuffer may be. */
const windowBytes = 64 * 1024 * 1024

/** Bytes written at once. */
const chunkBytes = 1024 * 1024

export function catCommand(): Command {
  return withPartitionOptions(new Command('cat'))
    .description("write a segment's bytes to stdout")
    .argument('<segment>', 'a segid (0x…) or a name')
    .option('--offset <n>', 'bytes to skip', parseCount, 0)
    .option('--length <n>', 'bytes to write (default: to the end of the data)', parseCount)
    .action(async (segment: string, { offset, length, ...where }: CatOptions) => {
      await using partition = await Partition.open(where)
      await using permit = await partition.get(segment, 'read')
      if (offset > permit.dataLength) {
        throw new XpmemError('EINVAL', 'cat', `the segment has ${permit.dataLength} bytes of data`)
      }
      const end = Math.min(offset + (length ?? permit.dataLength), permit.dataLength)
      await writeRange(permit, offset, end)
    })
}

/** Writes until the end or until nobody reads any more. */
async function writeRange(permit: Permit, from: number, end: number): Promise<void> {
  for (let at = from; at < end; ) {
    const offset = at - (at % kernel.pageSize)
    const length = Math.min(windowBytes, permit.length - offset)
    using attachment = await permit.attach({ offset, length })
    const stop = Math.min(end, offset + length)
    while (at < stop) {
      const until = Math.min(stop, at + chunkBytes)
      // A copy: the stream may still hold the bytes when the window is detached.
      const chunk = Buffer.from(new Uint8Array(attachment.buffer, at - offset, until - at))
      if (attachment.revoked) throw new XpmemError('ENOENT', 'cat', 'the segment ended while it was read')
      if (!(await written(chunk))) return
      at = until
    }
  }
}

/** False when the reader is gone. `main.ts` listens to the stream's error events, which come as well. */
async function written(chunk: Buffer): Promise<boolean> {
  try {
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(chunk, (error) => (error ? reject(error) : resolve()))
    })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error
    return false
  }
}
