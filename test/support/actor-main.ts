/** The process behind an `Actor`: each function here can be called by the test. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setgid, setgroups, setuid } from 'node:process'
import type { Readable } from 'node:stream'
import {
  Attachment,
  type AttachOptions,
  type MakeOptions,
  notify,
  type OpenOptions,
  Partition,
  Permit,
  Segment,
  wait,
} from '../../src/index.js'
import { kernel, metaLength } from '../../src/kernel/index.js'
import { attachDefaults, conformanceCalls, WasmMemory } from './actor-conformance.js'
import { pagingCalls } from './actor-paging.js'
import { until } from './until.js'

const things = new Map<number, unknown>()
let lastHandle = 0
let partition: Partition

function keep(thing: unknown): number {
  lastHandle += 1
  things.set(lastHandle, thing)
  return lastHandle
}

function thing<T>(handle: number, type: abstract new (...args: never[]) => T): T {
  const found = things.get(handle)
  if (found instanceof type) return found
  throw new Error(`handle ${handle} is no ${type.name}`)
}

function tell(event: string): void {
  process.send?.({ event })
}

/** Of a buffer that is detached, none: there is no view of one. */
function bytesOf(handle: number): Uint8Array {
  const found = things.get(handle)
  const buffer = found instanceof Attachment || found instanceof WasmMemory ? found.buffer : (found as ArrayBuffer)
  return buffer.byteLength === 0 ? new Uint8Array() : new Uint8Array(buffer)
}

interface Mapping {
  readonly start: bigint
  readonly end: bigint
  readonly line: string
}

function mappings(): Mapping[] {
  const lines = readFileSync('/proc/self/maps', 'utf8').trim().split('\n')
  return lines.map((line) => {
    const [start = '', end = ''] = (line.split(' ')[0] ?? '').split('-')
    return { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`), line }
  })
}

function isMapped(address: bigint): boolean {
  return mappings().some(({ start, end }) => start <= address && address < end)
}

function isOpen(descriptor: number): boolean {
  try {
    fstatSync(descriptor)
    return true
  } catch {
    return false
  }
}

/** A pair of connected sockets, through which a descriptor sent to oneself comes back as a duplicate. */
function withDuplicator<T>(use: (duplicate: (descriptor: number) => number, own: Set<number>) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'd-'))
  const listener = kernel.listen(join(directory, 'self'), 1)
  const sender = kernel.connect(join(directory, 'self'))
  const receiver = kernel.accept(listener)
  const own = new Set([listener, sender, receiver])
  const meta = new Int32Array(metaLength)
  try {
    return use((descriptor) => {
      kernel.send(sender, Uint8Array.of(1), 1, [descriptor])
      kernel.receive(receiver, new Uint8Array(16), meta)
      return meta[3] as number
    }, own)
  } finally {
    for (const descriptor of own) kernel.close(descriptor)
    rmSync(directory, { recursive: true })
  }
}

/** The descriptors xpmem has opened here: memfds, and sockets of its kind (type 5 in /proc/net/unix). */
function ownDescriptors(): number[] {
  const lines = readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .map((line) => line.split(/\s+/))
  const sockets = new Set(lines.filter((fields) => fields[4] === '0005').map((fields) => `socket:[${fields[6]}]`))
  return readdirSync('/proc/self/fd')
    .map(Number)
    .filter((number) => {
      if (!isOpen(number)) return false
      const link = readlinkSync(`/proc/self/fd/${number}`)
      return link.startsWith('/memfd:') || sockets.has(link)
    })
}

const made: Segment[] = []
const attached: Attachment[] = []
let passing = -1

const collect = () => (globalThis as unknown as { gc(): void }).gc()

const offer = (segment: Segment) => ({ handle: keep(segment), segid: segment.segid as bigint })

const calls = {
  ...conformanceCalls({ partition: () => partition, keep, bytesOf, offer }),
  ...pagingCalls({
    thing: (handle) => thing(handle, Attachment),
    wordsOf: (handle) => new Int32Array(bytesOf(handle).buffer),
  }),
  keepOnOwnerExit() {
    attachDefaults.onOwnerExit = 'keep'
  },
  become(uid: number, gid: number, groups: number[]) {
    setgroups?.(groups)
    setgid?.(gid)
    setuid?.(uid)
  },
  async open(options: OpenOptions) {
    partition = await Partition.open(options)
    partition.on('disconnected', () => tell('disconnected'))
    partition.on('reconnected', () => tell('reconnected'))
    partition.on('rolledBack', (segid, ranges) => {
      for (const { offset, length, ageMs } of ranges)
        tell(`rolledBack:${segid}:${offset}:${length}${Number.isFinite(ageMs) ? '' : ':of unknown age'}`)
    })
  },
  allocate: (length: number) => keep(partition.allocate(length)),
  wasm: (pages: number) => keep(new WasmMemory({ initial: pages })),
  async make(memory: number, options?: MakeOptions) {
    return offer(await partition.make(things.get(memory) as ArrayBuffer, options))
  },
  async makeRange(address: bigint, length: number, options?: MakeOptions) {
    return offer(await partition.make({ address, length }, options))
  },
  /** An address with nothing mapped in the bytes after it, well away from what is. */
  hole(length: number) {
    const margin = 1n << 24n
    const ends = mappings()
    const gap = ends.findIndex(({ end }, index) => {
      const next = ends[index + 1]
      return next !== undefined && next.start - end > BigInt(length) + 2n * margin
    })
    return (ends[gap] as Mapping).end + margin
  },
  async get(segment: bigint | string, access?: 'read' | 'readwrite') {
    const permit = await partition.get(segment, access)
    return {
      handle: keep(permit),
      segid: permit.segid as bigint,
      apid: permit.apid as bigint,
      length: permit.length,
      dataLength: permit.dataLength,
    }
  },
  async attach(permit: number, options?: AttachOptions) {
    const attachment = await thing(permit, Permit).attach({ ...attachDefaults, ...options })
    const handle = keep(attachment)
    attachment.on('revoked', (why) => tell(`revoked:${handle}:${why}`))
    return handle
  },
  async attachApid(apid: bigint, options?: AttachOptions) {
    return keep(await partition.attach(apid, options))
  },
  detach: (attachment: number) => thing(attachment, Attachment).detach(),
  release: (permit: number) => thing(permit, Permit).release(),
  releaseApid: (apid: bigint) => partition.release(apid),
  remove: (segment: number) => thing(segment, Segment).remove(),
  removeSegid: (segid: bigint) => partition.remove(segid),
  list: () => partition.list(),
  partitions: () => partition.partitions(),
  /** Who answers on the service's socket. */
  servicePid() {
    const socket = kernel.connect(join(partition.runtimeDir, `${partition.name}.sock`))
    const { pid, pidfd } = kernel.peer(socket)
    kernel.close(pidfd)
    kernel.close(socket)
    return pid
  },
  close: () => partition.close(),
  exit: () => process.exit(0),
  throw() {
    process.once('uncaughtException', () => process.exit(7))
    setImmediate(() => {
      throw new Error('on purpose')
    })
  },
  read: (memory: number, offset: number, length: number) => bytesOf(memory).slice(offset, offset + length),
  write: (memory: number, offset: number, bytes: Uint8Array) => bytesOf(memory).set(bytes, offset),
  byteLength: (attachment: number) => thing(attachment, Attachment).buffer.byteLength,
  revoked: (attachment: number) => thing(attachment, Attachment).revoked,
  addressOf: (attachment: number) => thing(attachment, Attachment).address,
  forget: (handle: number) => {
    things.delete(handle)
  },
  addressOfMemory(memory: number) {
    const found = things.get(memory) as ArrayBuffer | { buffer: ArrayBuffer }
    return kernel.addressOf('buffer' in found ? found.buffer : found)
  },
  isMapped,
  mapped: (text: string) => mappings().filter(({ line }) => line.includes(text)).length,
  detachAddress: (address: bigint) => partition.detach(address),
  /** Writes bytes of a memory to a file, reads them back into it elsewhere, by the system calls. */
  throughFile(memory: number, from: number, to: number, length: number) {
    const directory = mkdtempSync(join(tmpdir(), 'f-'))
    const file = openSync(join(directory, 'file'), 'w+')
    writeSync(file, bytesOf(memory), from, length)
    readSync(file, bytesOf(memory), to, length, 0)
    closeSync(file)
    rmSync(directory, { recursive: true })
    return bytesOf(memory).slice(to, to + length)
  },
  futexWait: (memory: number, index: number, expected: number) =>
    wait(new Int32Array(bytesOf(memory).buffer), index, expected),
  futexWake: (memory: number, index: number) => notify(new Int32Array(bytesOf(memory).buffer), index),
  /** Reads another process's memory past all of xpmem; nothing where nothing is mapped. */
  peek(pid: number, address: bigint, length: number) {
    const into = new Uint8Array(length)
    try {
      kernel.readProcessMemory(pid, address, into)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EFAULT') throw error
      return new Uint8Array(0)
    }
    return into
  },
  untilGone: (segid: bigint) =>
    until(async () => {
      try {
        await (await partition.get(segid)).release()
        return false
      } catch (error) {
        return (error as NodeJS.ErrnoException).code === 'ENOENT'
      }
    }),
  untilRevoked: (attachment: number) => until(() => thing(attachment, Attachment).revoked),
  /** Lets the collector have a memory and waits until it is unmapped. */
  async dropMemory(memory: number, address: bigint) {
    things.delete(memory)
    await until(() => {
      collect()
      return !isMapped(address)
    })
  },
  gc: collect,
  /** Sends every descriptor to this process itself, so that it has a duplicate, and closes that. */
  closeDuplicates(rounds: number) {
    return withDuplicator((duplicate, own) => {
      let closed = 0
      for (let round = 0; round < rounds; round += 1) {
        const descriptors = readdirSync('/proc/self/fd').map(Number)
        for (const descriptor of descriptors.filter((number) => !own.has(number) && isOpen(number))) {
          kernel.close(duplicate(descriptor))
          closed += 1
        }
      }
      return closed
    })
  },
  /**
   * A child with duplicates of every descriptor of xpmem's here (the agent closes its own in a child);
   * resolves to its exit code, or its pid if it outlives.
   */
  async heir(what: 'use-and-exit' | 'outlive') {
    const own = withDuplicator((duplicate) => ownDescriptors().map(duplicate))
    const script = new URL(`./heir.js`, import.meta.url).pathname
    const child = spawn(process.execPath, [script, what], {
      stdio: ['ignore', 'pipe', 'inherit', ...own],
      detached: true,
    })
    for (const descriptor of own) kernel.close(descriptor)
    if (what === 'use-and-exit') return new Promise((resolve) => child.once('exit', resolve))
    await once(child.stdout as Readable, 'data')
    child.unref()
    return child.pid
  },
  listenForDescriptor(path: string) {
    passing = kernel.listen(path, 1)
  },
  passMemory(memory: number, path: string) {
    const found = things.get(memory) as ArrayBuffer
    const backing = kernel.backingOf(kernel.addressOf(found), found.byteLength)
    const socket = kernel.connect(path)
    const [readwrite = -1, readonly = -1] = backing?.descriptors ?? []
    kernel.send(socket, Uint8Array.of(1), 1, [readwrite])
    for (const descriptor of [socket, readwrite, readonly]) kernel.close(descriptor)
  },
  /** Takes the descriptor that was passed and reads from it as from a file. */
  async readPassed(length: number) {
    const meta = new Int32Array(metaLength)
    let socket = -1
    await until(() => {
      socket = kernel.accept(passing)
      return socket >= 0
    })
    await until(() => kernel.receive(socket, new Uint8Array(16), meta) >= 0)
    const bytes = new Uint8Array(length)
    readSync(meta[3] as number, bytes, 0, length, 0)
    return bytes
  },
  async makeMany(count: number) {
    for (let index = 0; index < count; index += 1) made.push(await partition.make(partition.allocate(4096)))
    return made.map(({ segid }) => segid as bigint)
  },
  async removeMany() {
    await Promise.all(made.splice(0).map((segment) => segment.remove()))
  },
  async attachMany(segids: bigint[]) {
    for (const segid of segids) {
      const permit = await partition.get(segid, 'readwrite')
      const attachment = await permit.attach()
      new Uint8Array(attachment.buffer)[0] = 1
      attached.push(attachment)
    }
  },
  async releaseMany() {
    await Promise.all(attached.splice(0).map(({ permit }) => permit.release()))
  },
  /** Keeps the event loop busy until the byte at the offset of the memory is no longer `value`. */
  spin(memory: number, offset: number, value: number) {
    const bytes = new Uint8Array(
      (things.get(memory) as { buffer?: ArrayBuffer }).buffer ?? (things.get(memory) as ArrayBuffer),
    )
    tell('spinning')
    let turns = 0
    while (Atomics.load(bytes, offset) === value) turns += 1
    return turns
  },
} satisfies Record<string, (...args: never[]) => unknown>

process.on('message', async ({ id, name, args }: { id: number; name: keyof typeof calls; args: never[] }) => {
  try {
    const value = await (calls[name] as (...args: never[]) => unknown)(...args)
    process.send?.({ id, value })
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException
    process.send?.({ id, error: { message, code: code ?? (error as Error).stack } })
  }
})
// A test runner that is killed leaves no actor behind, even one that still offers memory.
process.once('disconnect', () => setTimeout(() => process.exit(), 5_000).unref())
