import { setFlagsFromString } from 'node:v8'
import { Command } from 'commander'
import { alreadyServed } from '../client/start-service.js'
import { XpmemError } from '../errors.js'
import { runtimePaths } from '../runtime-directory.js'
import { Service } from '../service/service.js'
import { type PartitionOptions, parseCount, withPartitionOptions } from './options.js'
import { stopRequested } from './signals.js'

interface ServeOptions extends PartitionOptions {
  readonly id: number
  readonly idleExit?: number
}

export function serveCommand(): Command {
  return withPartitionOptions(new Command('serve'))
    .description("run the partition's service until SIGINT or SIGTERM")
    .option('--id <n>', "the partition's number, part of its identifiers", parseCount, 1)
    .option('--idle-exit <seconds>', 'leave after this long without clients', parseCount)
    .action(async (options: ServeOptions) => {
      keepSmall()
      // Whoever started the service may stop reading what it says.
      for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
      const paths = runtimePaths(options, 'serve')
      const stop = stopRequested()
      let becameIdle = () => {}
      const idle = new Promise<void>((resolve) => {
        becameIdle = resolve
      })
      const service = start({
        paths,
        partitionId: options.id,
        idleExitMs: options.idleExit === undefined ? undefined : options.idleExit * 1_000,
        onIdle: becameIdle,
      })
      if (service === undefined) return
      process.stdout.write(`ready partition=${paths.partition} id=${options.id} socket=${paths.socket}\n`)
      await Promise.race([stop, idle])
      service.close()
    })
}

/** V8 enlarges its young generation under load and keeps it; a service that lives long is better small. */
function keepSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
}

function start(options: ConstructorParameters<typeof Service>[0]): Service | undefined {
  try {
    return new Service(options)
  } catch (error) {
    if (!(error instanceof XpmemError) || error.code !== 'EBUSY') throw error
    process.stderr.write(`xpmem: ${error.message}\n`)
    process.exitCode = alreadyServed
    return undefined
  }
}
