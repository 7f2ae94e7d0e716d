import { open } from 'node:fs/promises'
import { Command, Option } from 'commander'
import { Partition } from '../client/partition.js'
import { XpmemError } from '../errors.js'
import { formatId } from '../ids.js'
import { type PartitionOptions, parseMode, withPartitionOptions } from './options.js'
import { stopRequested } from './signals.js'

interface MakeOptions extends PartitionOptions {
  readonly name?: string
  readonly mode: number
}

export function makeCommand(): Command {
  return withPartitionOptions(new Command('make'))
    .description("offer a file's bytes as a segment until SIGINT or SIGTERM; prints the segid")
    .argument('<file>', 'the file to read')
    .option('--name <name>', 'a name for the segment')
    .addOption(new Option('--mode <bits>', 'permission bits in octal').argParser(parseMode).default(0o600, '0600'))
    .action(async (file: string, { name, mode, ...where }: MakeOptions) => {
      const stop = stopRequested()
      await using partition = await Partition.open(where)
      const { region, dataLength } = await readIntoRegion(partition, file)
      const segment = await partition.make(region, { mode, dataLength, ...(name === undefined ? {} : { name }) })
      process.stdout.write(`${formatId(segment.segid)}\n`)
      await stop
    })
}

/** The file's bytes in a fresh region; one page for an empty file. */
async function readIntoRegion(
  partition: Partition,
  path: string,
): Promise<{ region: ArrayBuffer; dataLength: number }> {
  await using file = await open(path, 'r')
  const status = await file.stat()
  if (!status.isFile()) throw new XpmemError('EINVAL', 'make', `${path} is not a regular file`)
  const region = partition.allocate(Math.max(status.size, 1))
  let done = 0
  while (done < status.size) {
    const { bytesRead } = await file.read(new Uint8Array(region, done, status.size - done))
    if (bytesRead === 0) break
    done += bytesRead
  }
  return { region, dataLength: done }
}
