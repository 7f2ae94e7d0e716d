#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { XpmemError } from '../errors.js'
import { catCommand } from './cat.js'
import { demoCommand } from './demo.js'
import { doctorCommand } from './doctor.js'
import { lsCommand } from './ls.js'
import { makeCommand } from './make.js'
import { partitionsCommand } from './partitions.js'
import { serveCommand } from './serve.js'

/** Exit codes: 0 done, 1 the call failed, 2 the command line is wrong, 3 the partition has a service already. */
const exitFailure = 1
const exitUsage = 2

const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

const program = new Command('xpmem')
  .description('live memory shared between processes')
  .version(version)
  .exitOverride()
  .addHelpText(
    'after',
    `
Environment:
  XPMEM_RUNTIME_DIR   where the service's socket lies (default: /run/xpmem for root,
                      $XDG_RUNTIME_DIR/xpmem, or /tmp/xpmem-UID)
  XPMEM_PARTITION     the partition's name (default: default)

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the partition has a service already`,
  )

for (const command of [
  serveCommand(),
  makeCommand(),
  catCommand(),
  lsCommand(),
  partitionsCommand(),
  doctorCommand(),
  demoCommand(),
]) {
  program.addCommand(command.exitOverride())
}

function complain(error: unknown): void {
  const told = error instanceof XpmemError || (error as NodeJS.ErrnoException).syscall !== undefined
  process.stderr.write(`xpmem: ${told ? (error as Error).message : ((error as Error).stack ?? error)}\n`)
  process.exitCode = exitFailure
}

// A reader that has seen enough, as `head`, is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') complain(error)
})

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : exitUsage
  else complain(error)
}
