import { type Command, InvalidArgumentError } from 'commander'

/** Where the partition is: options every command has. */
export interface PartitionOptions {
  readonly partition?: string
  readonly runtimeDir?: string
}

export function withPartitionOptions(command: Command): Command {
  return command
    .option('--partition <name>', 'the partition (default: $XPMEM_PARTITION, else "default")')
    .option('--runtime-dir <dir>', "where the service's socket lies (default: $XPMEM_RUNTIME_DIR, see --help)")
}

/** A whole number, not negative. */
export function parseCount(text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError('give a whole number.')
  return value
}

/** Permission bits, in octal as chmod takes them. */
export function parseMode(text: string): number {
  if (!/^0?[0-7]{1,3}$/.test(text)) throw new InvalidArgumentError('give permission bits in octal, such as 0640.')
  return Number.parseInt(text, 8)
}
