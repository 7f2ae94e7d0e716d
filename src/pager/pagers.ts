import { XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import type { AgentAnswer, AgentLink } from '../service/agent-link.js'
import type { ThreadGroup } from '../service/groups.js'
import type { Descriptor } from '../transport/descriptor.js'
import { closeAll } from '../transport/descriptor.js'
import type { Row } from '../wire/codec.js'
import { mappingFlag } from '../wire/schema.js'
import type { FaultHandler, PagedFile } from './paged-file.js'
import { ProcessPager } from './process-pager.js'

interface Armed {
  readonly file: PagedFile
  readonly handler: FaultHandler
}

interface Process {
  /** Undefined until its userfaultfd came. */
  pager: ProcessPager | undefined
  readonly armed: Map<string, Armed>
}

function malformed(what: string): XpmemError {
  return new XpmemError('EPROTO', 'mapped', what)
}

/** Which files are paged in which processes. */
export class Pagers {
  readonly #agentTimeoutMs: number
  readonly #processes = new Map<ThreadGroup, Process>()

  constructor(agentTimeoutMs: number) {
    this.#agentTimeoutMs = agentTimeoutMs
  }

  isArmed(group: ThreadGroup, file: PagedFile): boolean {
    return this.#processes.get(group)?.armed.has(file.identity) ?? false
  }

  /**
   * Has the process's agent register every mapping of the file, now and later; `aside`: what the
   * agent puts back if this service ends. Tells how many of its mappings cannot be registered, since
   * they are read-only. Rejects with ENOTSUP where there is no userfaultfd, ETIMEDOUT, or ESRCH.
   */
  async arm(group: ThreadGroup, { file, handler }: Armed, aside?: Descriptor): Promise<number> {
    const agent = await this.#agentOf(group)
    const sent = aside === undefined ? [] : [aside]
    const answer = await agent.request('arm', numbersOf(file), this.#agentTimeoutMs, sent)
    return this.#take(group, { file, handler }, answer)
  }

  async #agentOf(group: ThreadGroup): Promise<AgentLink> {
    const agent = await group.agentWithin(this.#agentTimeoutMs)
    if (agent === undefined) throw new XpmemError('ESRCH', 'attach', `pid ${group.pid} has no agent here`)
    return agent
  }

  #take(group: ThreadGroup, armed: Armed, { message, descriptors }: AgentAnswer): number {
    if (message.name !== 'armed' || descriptors.length !== 1 || group.gone) {
      closeAll(descriptors)
      throw malformed('the agent did not say what it has armed')
    }
    const process = this.#processOf(group)
    const [userfault] = descriptors as [number]
    if (process.pager === undefined) process.pager = new ProcessPager(userfault, (...range) => group.mappings(...range))
    else closeAll(descriptors)
    process.armed.set(armed.file.identity, armed)
    const writable = message.rows.filter(({ flags }) => (flags & mappingFlag.readonly) === 0)
    this.#add(process, writable)
    return message.rows.length - writable.length
  }

  /**
   * Has the process's agent show a copy in the place of its read-only attachments of a file, armed.
   * Rejects as `arm`.
   */
  async showCopy(group: ThreadGroup, file: PagedFile, copy: Armed): Promise<void> {
    const agent = await this.#agentOf(group)
    const sent = [copy.file.descriptor]
    this.#take(group, copy, await agent.request('copy', numbersOf(file), this.#agentTimeoutMs, sent))
  }

  /** Has the process's agent end that. */
  async disarm(group: ThreadGroup, file: PagedFile): Promise<void> {
    const process = this.#processes.get(group)
    process?.armed.delete(file.identity)
    try {
      const answer = await group.agent?.request('disarm', numbersOf(file), this.#agentTimeoutMs)
      const { descriptors } = answer ?? {}
      closeAll(descriptors ?? [])
    } catch {
      // An agent that is gone has ended it by itself.
    }
    process?.pager?.remove(file)
  }

  /** Ends it in every process in which the file is armed. */
  async disarmAll(file: PagedFile): Promise<void> {
    const armed = [...this.#processes].filter(([, process]) => process.armed.has(file.identity))
    await Promise.all(armed.map(([group]) => this.disarm(group, file)))
  }

  /** The process has mapped memory that its agent has registered. ENOENT for a file that is not armed there. */
  mapped(group: ThreadGroup, rows: readonly Row<'mapping'>[]): void {
    const process = this.#processes.get(group)
    if (process === undefined) throw new XpmemError('ENOENT', 'mapped', 'no file is armed in this process')
    this.#add(process, rows)
  }

  /** What is paged in a range of a process's memory. */
  within(group: ThreadGroup, address: number, length: number) {
    return [...(this.#processes.get(group)?.pager?.within({ address, length }) ?? [])]
  }

  /** The process is gone, or its agent, which has ended all registrations. */
  forget(group: ThreadGroup): void {
    const process = this.#processes.get(group)
    this.#processes.delete(group)
    process?.pager?.close()
  }

  close(): void {
    for (const { pager } of this.#processes.values()) pager?.close()
    this.#processes.clear()
  }

  #processOf(group: ThreadGroup): Process {
    const process = this.#processes.get(group) ?? { pager: undefined, armed: new Map() }
    this.#processes.set(group, process)
    return process
  }

  #add(process: Process, rows: readonly Row<'mapping'>[]): void {
    const known = rows.map((row) => ({ row, armed: checkRow(process, row) }))
    for (const { row, armed } of known) {
      const { file, handler } = armed
      const mapping = process.pager?.add(file, handler, row)
      if (mapping === undefined) continue
      handler.forEachProtected((first, count) => file.protectIn(mapping, first, count))
      // Of an agent that is connected again: whose faults were read before they were answered.
      kernel.wake(mapping.source.userfault, mapping.address, mapping.length)
    }
  }
}

/** As fstat(2) tells a file. */
function numbersOf({ identity }: PagedFile): { device: bigint; inode: bigint } {
  const [device, inode] = identity.split(':').map(BigInt) as [bigint, bigint]
  return { device, inode }
}

function checkRow(process: Process, { address, length, fileOffset, device, inode }: Row<'mapping'>): Armed {
  const armed = process.armed.get(`${device}:${inode}`)
  if (armed === undefined) throw new XpmemError('ENOENT', 'mapped', 'that file is not armed in this process')
  const { pageSize } = kernel
  if ([address, length, fileOffset].some((number) => number % pageSize !== 0) || length === 0) {
    throw malformed('a mapping is not made of whole pages')
  }
  if (fileOffset + length > armed.file.pageCount * pageSize) throw malformed('a mapping lies outside of its file')
  return armed
}
