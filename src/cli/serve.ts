import { setFlagsFromString } from 'node:v8'
import { Command, InvalidArgumentError } from 'commander'
import { alreadyServed } from '../client/start-service.js'
import { XpmemError } from '../errors.js'
import type { PartitionsOptions } from '../partitions/partitions.js'
import { runtimePaths } from '../runtime-directory.js'
import { defaultPaging } from '../service/far.js'
import { Service } from '../service/service.js'
import {
  type Address,
  formatAddress,
  type PeerEntry,
  parseAddress,
  parsePeer,
  requireLoopback,
} from '../xpc/directory.js'
import { type PartitionOptions, parseCount, withPartitionOptions } from './options.js'
import { stopRequested } from './signals.js'

interface ServeOptions extends PartitionOptions {
  readonly id: number
  readonly idleExit?: number
  readonly listen?: Address
  readonly peer: readonly PeerEntry[]
  readonly trust: readonly string[]
  readonly heartbeat: number
  readonly insecurePlaintext?: boolean
  readonly cacheBytes: number
  readonly flush: number
  readonly hold: number
}

/** Milliseconds between two heartbeats at the least and at the most. */
const minHeartbeatMs = 10
const maxHeartbeatMs = 3_600_000

function parseListen(text: string): Address {
  const address = parseAddress(text)
  if (address === undefined) throw new InvalidArgumentError('give HOST:PORT, an IPv6 address in brackets.')
  return address
}

function parsePeers(text: string, before: readonly PeerEntry[]): PeerEntry[] {
  const peer = parsePeer(text)
  if (peer === undefined) throw new InvalidArgumentError('give NAME=HOST:PORT, or NAME of one that connects by itself.')
  return [...before, peer]
}

function parseHeartbeat(text: string): number {
  const value = parseCount(text)
  if (value < minHeartbeatMs || value > maxHeartbeatMs) {
    throw new InvalidArgumentError(`give ${minHeartbeatMs} to ${maxHeartbeatMs} milliseconds.`)
  }
  return value
}

function partitionsOf(options: ServeOptions): PartitionsOptions {
  const { listen, peer: peers, trust: trusted, heartbeat: heartbeatMs, insecurePlaintext = false } = options
  const addresses = [listen, ...peers.map(({ address }) => address)].filter((address) => address !== undefined)
  requireLoopback(addresses, insecurePlaintext)
  return { listen, peers, trusted, heartbeatMs }
}

export function serveCommand(): Command {
  return withPartitionOptions(new Command('serve'))
    .description("run the partition's service until SIGINT or SIGTERM")
    .option('--id <n>', "the partition's number, part of its identifiers", parseCount, 1)
    .option('--idle-exit <seconds>', 'leave after this long without clients', parseCount)
    .option('--listen <host:port>', 'let other partitions connect here; port 0: any that is free', parseListen)
    .option('--peer <name[=host:port]>', 'a partition to speak with, where it listens (repeat)', parsePeers, [])
    .option('--trust <name>', 'a peer whose word on who asks is taken (repeat)', collect, [])
    .option('--heartbeat <ms>', 'between two signs of life; 5 without an answer end a link', parseHeartbeat, 1_000)
    .option('--cache-bytes <n>', 'memory that copies of far pages may take', parseCount, defaultPaging.cacheBytes)
    .option('--flush <ms>', 'how often changed pages are sent home', parseHeartbeat, defaultPaging.flushMs)
    .option('--hold <us>', 'how long a page stays with who just got it', parseCount, defaultPaging.holdMs * 1_000)
    .option('--insecure-plaintext', 'speak with partitions on other machines unencrypted and unauthenticated')
    .action(async (options: ServeOptions) => {
      keepSmall()
      // Whoever started the service may stop reading what it says.
      for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
      const paths = runtimePaths(options, 'serve')
      const partitions = partitionsOf(options)
      const stop = stopRequested()
      let becameIdle = () => {}
      const idle = new Promise<void>((resolve) => {
        becameIdle = resolve
      })
      const service = start({
        paths,
        partitionId: options.id,
        partitions,
        paging: { cacheBytes: options.cacheBytes, flushMs: options.flush, holdMs: options.hold / 1_000 },
        idleExitMs: options.idleExit === undefined ? undefined : options.idleExit * 1_000,
        onIdle: becameIdle,
      })
      if (service === undefined) return
      try {
        const listening = await service.join()
        const where = listening === undefined ? '' : ` listen=${formatAddress(listening)}`
        if (options.insecurePlaintext) process.stderr.write(`xpmem: ${insecureWarning}\n`)
        process.stdout.write(`ready partition=${paths.partition} id=${options.id} socket=${paths.socket}${where}\n`)
        await Promise.race([stop, idle])
      } finally {
        await service.close()
      }
    })
}

const insecureWarning = 'warning: --insecure-plaintext: anyone on the network can read and change what partitions share'

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value]
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
