import type { Access } from '../coherence/terms.js'
import { asXpmemError } from '../errors.js'
import type { ThreadGroup } from '../service/groups.js'
import type { Descriptor } from '../transport/descriptor.js'
import type { Budget } from './budget.js'
import { HomeFile, type RolledBack } from './home-file.js'
import { LocalCopy } from './local-copy.js'
import type { Pagers } from './pagers.js'

export interface HomesContext {
  readonly pagers: Pagers
  /** Every process that has mapped some of the file, or may. */
  usersOf(identity: string): Iterable<ThreadGroup>
  rolledBack(identity: string, pages: readonly RolledBack[]): void
}

/** How pages are treated, at home and in copies. */
export interface PagingOptions {
  /** How long a page that a thread just got is kept before others get it. Milliseconds. */
  readonly holdMs: number
  /** How often dirty pages are sent home. */
  readonly flushMs: number
  readonly budget: Budget
}

/** What others know a paged file by, while it is paged. */
export interface PagedHome {
  readonly number: number
  readonly home: HomeFile
}

interface Entry extends PagedHome {
  /** What processes that only read have instead of the file. */
  readonly copies: Map<ThreadGroup, { readonly copy: LocalCopy; shown: boolean }>
  /** Processes that were told to page it. */
  readonly users: Set<ThreadGroup>
  /** Resolves when every process's mappings are armed. */
  ready: Promise<void>
  isReady: boolean
  linger: NodeJS.Timeout | undefined
}

/** How long a file stays paged that nobody uses: copies of it may be made one after another. */
const lingerMs = 500

/** The files of this partition that others use. */
export class Homes {
  readonly #context: HomesContext
  readonly #entries = new Map<string, Entry>()
  readonly #options: PagingOptions
  #lastNumber = 0

  constructor(context: HomesContext, options: PagingOptions) {
    this.#context = context
    this.#options = options
  }

  /** The home of a file, ready for nodes: every mapping of it in this partition is armed. */
  async open(identity: string, descriptor: Descriptor): Promise<PagedHome> {
    const entry = this.#entries.get(identity) ?? this.#create(identity, descriptor)
    clearTimeout(entry.linger)
    await entry.ready
    return entry
  }

  /** Whether a process may be given a descriptor of a file at once. */
  isReadyFor(group: ThreadGroup, identity: string, access: Access): boolean {
    const entry = this.#entries.get(identity)
    if (entry === undefined) return true
    if (access === 'read') return entry.copies.get(group)?.shown === true
    return this.#context.pagers.isArmed(group, entry.home.file)
  }

  /** Sees to it that it may. */
  async armFor(group: ThreadGroup, identity: string, access: Access): Promise<void> {
    const entry = this.#entries.get(identity)
    if (entry === undefined || this.isReadyFor(group, identity, access)) return
    await entry.ready
    if (access === 'read') await this.#showCopy(entry, group)
    else if (await this.#arm(entry, group)) await this.#showCopy(entry, group)
  }

  /** What a process that only reads has in the place of a file. */
  copyFor(group: ThreadGroup, identity: string): Descriptor | undefined {
    return this.#entries.get(identity)?.copies.get(group)?.copy.cache.file.descriptor
  }

  /** The agent of a process is connected, perhaps again: what it has paged is answered again. */
  async connected(group: ThreadGroup): Promise<void> {
    const used = [...this.#entries.values()].filter(({ users }) => users.has(group))
    await Promise.all(used.map((entry) => this.#arm(entry, group).catch(() => {})))
  }

  /** The process is gone, or its agent is for now: copies have ended with the connection. */
  forget(group: ThreadGroup): void {
    for (const [identity, { copies, users }] of this.#entries) {
      if (group.gone) users.delete(group)
      copies.get(group)?.copy.close()
      if (copies.delete(group)) this.release(identity)
    }
  }

  /** Ends the paging of a file soon, if no other partition uses it any more and none begins to meanwhile. */
  release(identity: string): void {
    const entry = this.#entries.get(identity)
    if (entry === undefined) return
    clearTimeout(entry.linger)
    entry.linger = setTimeout(() => void this.#closeIfUnused(identity, entry), lingerMs)
    entry.linger.unref()
  }

  async #closeIfUnused(identity: string, entry: Entry): Promise<void> {
    // Copies stay: whoever has one would have to be given the file again.
    if (this.#entries.get(identity) !== entry || entry.home.nodeCount > 0 || !entry.isReady) return
    this.#entries.delete(identity)
    await this.#context.pagers.disarmAll(entry.home.file)
    entry.home.close()
  }

  /** One that did not answer may arm its memory yet. */
  async #giveUp({ home }: Entry, users: readonly ThreadGroup[]): Promise<void> {
    await Promise.all(users.map((group) => this.#context.pagers.disarm(group, home.file)))
    home.close()
  }

  close(): void {
    for (const { home, copies, linger } of this.#entries.values()) {
      clearTimeout(linger)
      for (const { copy } of copies.values()) copy.close()
      home.close()
    }
    this.#entries.clear()
  }

  #create(identity: string, descriptor: Descriptor): Entry {
    const rolledBack = (pages: readonly RolledBack[]) => this.#context.rolledBack(identity, pages)
    const home = new HomeFile(descriptor.retain(), { holdMs: this.#options.holdMs, rolledBack })
    this.#lastNumber += 1
    const entry: Entry = {
      number: this.#lastNumber,
      home,
      copies: new Map(),
      users: new Set(),
      ready: Promise.resolve(),
      isReady: false,
      linger: undefined,
    }
    entry.ready = this.#armAll(identity, entry)
    this.#entries.set(identity, entry)
    return entry
  }

  async #armAll(identity: string, entry: Entry): Promise<void> {
    // Known as paged before it is asked who uses it, so that who comes later arms itself.
    await Promise.resolve()
    const users = [...this.#context.usersOf(identity)]
    const readers: ThreadGroup[] = []
    try {
      await Promise.all(users.map(async (group) => (await this.#arm(entry, group)) && readers.push(group)))
    } catch (error) {
      this.#entries.delete(identity)
      void this.#giveUp(entry, users)
      throw error
    }
    await this.#showCopies(entry, readers)
  }

  /**
   * When everybody else's stores are seen. Whoever was shown a copy cannot be given the file again: those
   * that do not answer are asked until they do.
   */
  async #showCopies(entry: Entry, readers: readonly ThreadGroup[]): Promise<void> {
    try {
      await Promise.all(readers.map((group) => this.#showCopy(entry, group)))
      entry.isReady = true
    } catch (error) {
      if (asXpmemError(error, 'attach').code !== 'ETIMEDOUT') throw error
      entry.ready = this.#showCopies(
        entry,
        readers.filter((group) => !group.gone && entry.copies.get(group)?.shown === false),
      )
      entry.ready.catch(() => {})
      throw error
    }
  }

  /** Whether the process has attachments that are read-only. */
  async #arm({ home, users }: Entry, group: ThreadGroup): Promise<boolean> {
    users.add(group)
    try {
      return (await this.#context.pagers.arm(group, { file: home.file, handler: home }, home.asideFile)) > 0
    } catch (error) {
      if (group.gone) return false
      throw error
    }
  }

  async #showCopy({ home, copies }: Entry, group: ThreadGroup): Promise<void> {
    let known = copies.get(group)
    if (known === undefined) {
      known = { copy: new LocalCopy(home, this.#options), shown: false }
      copies.set(group, known)
    }
    const { cache } = known.copy
    try {
      await this.#context.pagers.showCopy(group, home.file, { file: cache.file, handler: cache })
      known.shown = true
    } catch (error) {
      if (!group.gone) throw error
    }
  }
}
