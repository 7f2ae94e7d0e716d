import { XpmemError } from '../errors.js'
import type { Groups, ThreadGroup } from '../service/groups.js'
import type { Descriptor } from '../transport/descriptor.js'
import { HomeFile } from './home-file.js'
import type { Pagers } from './pagers.js'

export interface HomesContext {
  readonly groups: Groups
  readonly pagers: Pagers
  /** Every process that has mapped some of the file, or may. */
  usersOf(identity: string): Iterable<ThreadGroup>
  rolledBack(identity: string, first: number, count: number): void
}

/** What others know a paged file by, while it is paged. */
export interface PagedHome {
  readonly number: number
  readonly home: HomeFile
}

/** How long a page that a thread just got is kept before others get it. */
export const holdMs = 0.2

interface Entry extends PagedHome {
  /** Resolves when every process's mappings are armed. */
  readonly ready: Promise<void>
}

/** The files of this partition that others use. */
export class Homes {
  readonly #context: HomesContext
  readonly #entries = new Map<string, Entry>()
  #lastNumber = 0

  constructor(context: HomesContext) {
    this.#context = context
  }

  /** The home of a file, ready for nodes: every mapping of it in this partition is armed. */
  async open(identity: string, descriptor: Descriptor): Promise<PagedHome> {
    const entry = this.#entries.get(identity) ?? this.#create(identity, descriptor)
    await entry.ready
    return entry
  }

  /** Whether a process may be given a descriptor of a file at once. */
  isReadyFor(group: ThreadGroup, identity: string): boolean {
    const entry = this.#entries.get(identity)
    return entry === undefined || this.#context.pagers.isArmed(group, entry.home.file)
  }

  /** Sees to it that it may. */
  async armFor(group: ThreadGroup, identity: string): Promise<void> {
    const entry = this.#entries.get(identity)
    if (entry === undefined) return
    await entry.ready
    if (!this.#context.pagers.isArmed(group, entry.home.file)) await this.#arm(entry.home, group)
  }

  /** Ends the paging of a file that no other partition uses any more. */
  async closeIfUnused(identity: string): Promise<void> {
    const entry = this.#entries.get(identity)
    if (entry === undefined || entry.home.nodeCount > 0) return
    this.#entries.delete(identity)
    const { groups, pagers } = this.#context
    const armed = pagers.groupsWith(entry.home.file).flatMap((group) => groups.get(group) ?? [])
    await Promise.all(armed.map((group) => pagers.disarm(group, entry.home.file)))
    entry.home.close()
  }

  close(): void {
    for (const { home } of this.#entries.values()) home.close()
    this.#entries.clear()
  }

  #create(identity: string, descriptor: Descriptor): Entry {
    const rolledBack = (first: number, count: number) => this.#context.rolledBack(identity, first, count)
    const home = new HomeFile(descriptor.retain(), { holdMs, rolledBack })
    this.#lastNumber += 1
    const entry = { number: this.#lastNumber, home, ready: this.#armAll(identity, home) }
    this.#entries.set(identity, entry)
    return entry
  }

  async #armAll(identity: string, home: HomeFile): Promise<void> {
    try {
      // Known as paged before it is asked who uses it, so that who comes later arms itself.
      await Promise.resolve()
      await Promise.all([...this.#context.usersOf(identity)].map((group) => this.#arm(home, group)))
    } catch (error) {
      this.#entries.delete(identity)
      home.close()
      throw error
    }
  }

  async #arm(home: HomeFile, group: ThreadGroup): Promise<void> {
    try {
      const readonly = await this.#context.pagers.arm(group, { file: home.file, handler: home }, home.asideFile)
      if (readonly === 0) return
    } catch (error) {
      if (group.gone) return
      throw error
    }
    throw new XpmemError('EBUSY', 'attach', `pid ${group.pid} of the home partition has the memory attached read-only`)
  }
}
