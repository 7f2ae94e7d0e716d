import { Command } from 'commander'
import { Partition } from '../client/partition.js'
import type { PartitionInfo } from '../wire/partition-info.js'
import { type PartitionOptions, withPartitionOptions } from './options.js'
import { formatBytes, formatTable, plain } from './table.js'

interface PartitionsOptions extends PartitionOptions {
  readonly json?: boolean
}

const header = ['NAME', 'ID', 'ADDRESS', 'STATE', 'ROUND TRIP', 'PAGES IN', 'PAGES OUT', 'IN', 'OUT', 'REASON']

export function partitionsCommand(): Command {
  return withPartitionOptions(new Command('partitions'))
    .description('list the partitions that this one may speak with')
    .option('--json', 'as JSON: an array, sizes in bytes, times in milliseconds, null where nothing is known')
    .action(async ({ json, ...where }: PartitionsOptions) => {
      await using partition = await Partition.open(where)
      const partitions = await partition.partitions()
      process.stdout.write(
        json ? `${JSON.stringify(partitions, undefined, 2)}\n` : `${formatTable(header, partitions.map(row))}\n`,
      )
    })
}

function row(info: PartitionInfo): (string | number)[] {
  return [
    info.name,
    info.id ?? '?',
    info.address ?? '-',
    info.state,
    info.roundTripMs === null ? '-' : `${info.roundTripMs.toFixed(2)} ms`,
    info.pagesIn,
    info.pagesOut,
    formatBytes(info.bytesIn),
    formatBytes(info.bytesOut),
    plain(info.reason),
  ]
}
