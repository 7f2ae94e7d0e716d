import { isIPv4, isIPv6 } from 'node:net'
import { XpmemError } from '../errors.js'

export interface Address {
  readonly host: string
  readonly port: number
}

/** A partition that this one may speak with. */
export interface PeerEntry {
  readonly name: string
  /** Where its service listens; without one it is waited for. */
  readonly address: Address | undefined
}

/** HOST:PORT, with an IPv6 host in brackets. Undefined if it is neither. */
export function parseAddress(text: string): Address | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || port > 65_535 || (match?.[1] !== undefined && !isIPv6(host))) return undefined
  return { host, port }
}

export function formatAddress({ host, port }: Address): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`
}

/** NAME or NAME=HOST:PORT. Undefined if it is neither. */
export function parsePeer(text: string): PeerEntry | undefined {
  const at = text.indexOf('=')
  const name = at < 0 ? text : text.slice(0, at)
  if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/.test(name)) return undefined
  if (at < 0) return { name, address: undefined }
  const address = parseAddress(text.slice(at + 1))
  return address === undefined || address.port === 0 ? undefined : { name, address }
}

/** Whether nobody outside of the machine can be at the address, whatever a resolver says. */
export function isLoopback({ host }: Address): boolean {
  if (isIPv4(host)) return host.startsWith('127.')
  return host === '::1' || host === 'localhost'
}

/** EPERM unless what goes over the addresses stays on this machine, or `insecure` says that it need not. */
export function requireLoopback(addresses: readonly Address[], insecure: boolean): void {
  const exposed = addresses.find((address) => !isLoopback(address))
  if (exposed === undefined || insecure) return
  throw new XpmemError(
    'EPERM',
    'serve',
    `${formatAddress(exposed)} is not on this machine, and what partitions say to each other is neither encrypted nor ` +
      'authenticated: use a loopback address (through a tunnel, such as ssh -L), or give --insecure-plaintext on a ' +
      'network where you trust every machine',
  )
}
