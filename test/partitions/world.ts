/** Partitions of this machine that speak with each other, and processes in them. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { TestContext } from 'node:test'
import type { SegmentInfo } from '../../src/wire/segment-info.js'
import type { Address } from '../../src/xpc/directory.js'
import { type Actor, startActor } from '../support/actor.js'
import { until } from '../support/until.js'
import { type Side, startSide, untilPartition } from '../xpc/pair.js'
import { ownAddress } from '../xpc/raw-peer.js'

export const page = 4_096

/** Where a partition listens, and what starts its service there. */
export interface Site {
  readonly address: Address
  readonly within: readonly string[]
  /** Where others find it, if that is not the same. */
  readonly reach?: Address
}

export interface WorldOptions {
  /** On this machine's loopback unless said otherwise. */
  readonly sites?: readonly Site[]
  readonly args?: readonly string[]
  /** Peers that the test plays, which may come to the first partition. */
  readonly strangers?: readonly string[]
}

const names = ['home', 'far', 'third'] as const

/** Two or three partitions with a service each: `home`, `far` and `third`, where every one knows every other. */
export async function startWorld(t: TestContext, count: 2 | 3, options: WorldOptions = {}): Promise<Side[]> {
  const { args = [], strangers = [] } = options
  const sites = options.sites ?? names.map(() => ({ address: ownAddress(), within: [] }))
  const sides: Side[] = []
  for (const [index, name] of names.slice(0, count).entries()) {
    // Who was there before is connected to; who comes later connects.
    const others = names.slice(0, count).filter((other) => other !== name)
    const known = others.map((other) => [
      other,
      names.indexOf(other) < index ? reachOf(siteOf(sites, other)) : undefined,
    ])
    const unknown = index === 0 ? strangers.map((stranger) => [stranger, undefined]) : []
    const peers = Object.fromEntries([...known, ...unknown])
    sides.push(await startSide(t, { name, id: index + 1, peers, ...siteOf(sites, name), args }))
  }
  for (const [index, { actor }] of sides.entries()) {
    for (const name of names.slice(0, count)) {
      if (name !== names[index]) await untilPartition(actor, name, ({ state }) => state === 'active')
    }
  }
  return sides
}

const reachOf = ({ address, reach = address }: Site) => reach

const siteOf = (sites: readonly Site[], name: (typeof names)[number]) => sites[names.indexOf(name)] as Site

/** Another process of a partition. */
export function another(t: TestContext, { service }: Side): Promise<Actor> {
  return startActor(t, { runtimeDir: service.runtimeDir, partition: service.partition })
}

/** What tests drive: a process in either language. */
export interface Caller {
  call<T = unknown>(name: string, ...args: unknown[]): Promise<T>
}

export interface Shared {
  /** The owner's memory. */
  readonly memory: number
  readonly handle: number
  readonly segid: bigint
}

/** A segment that everybody may read and write. */
export async function share(owner: Caller, pages: number, options: { name?: string } = {}): Promise<Shared> {
  const memory = await owner.call<number>('allocate', pages * page)
  const made = await owner.call<{ handle: number; segid: bigint }>('make', memory, { mode: 0o606, ...options })
  return { memory, ...made }
}

export interface Attached {
  readonly permit: number
  readonly attachment: number
}

export async function attach(
  actor: Caller,
  key: bigint | string,
  access: 'read' | 'readwrite' = 'readwrite',
  options: object = {},
): Promise<Attached> {
  const { handle: permit } = await actor.call<{ handle: number }>('get', key, access)
  return { permit, attachment: await actor.call<number>('attach', permit, options) }
}

export const store = (actor: Caller, memory: number, offset: number, words: string) =>
  actor.call('write', memory, offset, Buffer.from(words))

export const load = async (actor: Caller, memory: number, offset: number, length: number) =>
  Buffer.from(await actor.call<Uint8Array>('read', memory, offset, length)).toString()

/** The segments that a partition knows. */
export const listed = (actor: Caller) => actor.call<SegmentInfo[]>('list')

/** Waits until nobody but its owner has to do with a segment, as its partition says. */
export async function untilAlone(actor: Caller, segid: bigint): Promise<void> {
  await until(async () => {
    const found = (await listed(actor)).find((one) => BigInt(one.segid) === segid)
    return found !== undefined && found.permits === 0
  })
}

/** Waits until an actor has told of something by itself, so often at the least; all of what it told that fits. */
export async function told(actor: Actor, event: RegExp, count = 1): Promise<string[]> {
  const fitting = () => actor.events.filter((one) => event.test(one))
  await until(() => fitting().length >= count || actor.child.exitCode !== null)
  return fitting()
}

/** How many memfds a process has open. */
export function memfdsOf(pid: number): number {
  const folder = `/proc/${pid}/fd`
  const links = readdirSync(folder).map((name) => {
    try {
      return readlinkSync(`${folder}/${name}`)
    } catch {
      return ''
    }
  })
  return links.filter((link) => link.startsWith('/memfd:')).length
}

const watchdogMs = 120_000

/** Says where the threads of processes wait if the test hangs. */
export function watch(t: TestContext, processes: Readonly<Record<string, number>>): void {
  const timer = setTimeout(() => {
    for (const [name, pid] of Object.entries(processes)) console.error(`${name}, pid ${pid}: ${waitsOf(pid)}`)
  }, watchdogMs)
  t.after(() => clearTimeout(timer))
}

function waitsOf(pid: number): string {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`)
    return tasks.map((task) => readFileSync(`/proc/${pid}/task/${task}/wchan`, 'latin1')).join(' ')
  } catch {
    return 'gone'
  }
}

/** Bytes that came over TCP and that a process has not read. */
export function unreadBytes(pid: number): number {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).map((fd) => /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]),
  )
  return readFileSync(`/proc/${pid}/net/tcp`, 'utf8')
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields.length > 9 && sockets.has(fields[9]))
    .reduce((sum, fields) => sum + Number.parseInt((fields[4] as string).split(':')[1] as string, 16), 0)
}
