import { Command } from 'commander'
import { Partition } from '../client/partition.js'
import type { SegmentInfo } from '../wire/segment-info.js'
import { type PartitionOptions, withPartitionOptions } from './options.js'
import { formatBytes, formatTable, plain } from './table.js'

interface LsOptions extends PartitionOptions {
  readonly json?: boolean
}

const header = ['SEGID', 'NAME', 'PID', 'UID', 'MODE', 'SIZE', 'DATA', 'PERMITS', 'ATTACHED', 'IN USE', 'COMMAND']

export function lsCommand(): Command {
  return withPartitionOptions(new Command('ls'))
    .description('list the segments of the partition')
    .option('--json', 'as JSON: an array, sizes in bytes, attachments null where a process did not answer')
    .action(async ({ json, ...where }: LsOptions) => {
      await using partition = await Partition.open(where)
      const segments = await partition.list()
      process.stdout.write(
        json ? `${JSON.stringify(segments, undefined, 2)}\n` : `${formatTable(header, segments.map(row))}\n`,
      )
    })
}

function row(info: SegmentInfo): (string | number)[] {
  return [
    info.segid,
    plain(info.name) || '-',
    info.owner.pid,
    info.owner.uid,
    info.mode.toString(8).padStart(4, '0'),
    formatBytes(info.length),
    formatBytes(info.dataLength),
    info.permits,
    info.attachments ?? '?',
    formatBytes(info.memoryInUse),
    plain(info.owner.command),
  ]
}
