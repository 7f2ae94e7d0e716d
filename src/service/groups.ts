import { XpmemError } from '../errors.js'
import { kernel, type Mapping, type Peer, type Poll } from '../kernel/index.js'
import type { AgentLink } from './agent-link.js'
import type { MemoryAllowance } from './allowance.js'
import { startTimeOf, threadStartTimeOf } from './processes.js'
import type { GroupId, SessionId } from './registry.js'

interface GroupFacts {
  readonly id: GroupId
  readonly pid: number
  readonly start: bigint
  readonly allowance: MemoryAllowance
}

/** What several processes have kept open here to look at their mappings. */
interface KeptMaps {
  count: number
  /** Whether one more may be. */
  hasRoom(): boolean
}

/** The program that runs in a process, until an exec puts another in its place. */
interface Image {
  /** A random number of its own. */
  readonly number: bigint
  /** The newest connection that has said so. */
  newest: SessionId
}

/**
 * A process that the service knows, for as long as its pidfd says that it lives and it runs the
 * program that it ran. The program that an exec puts in its place is another group.
 */
export class ThreadGroup {
  readonly id: GroupId
  readonly pid: number
  readonly start: bigint
  readonly allowance: MemoryAllowance
  readonly #pidfd: number
  readonly #poll: Poll
  agent: AgentLink | undefined
  connections = 0
  /** Undefined of a process that has not said hello yet. */
  image: Image | undefined
  #gone = false
  #agentThread: { readonly id: number; readonly start: bigint } | undefined
  readonly #keptMaps: KeptMaps
  /** Opened when it is needed, and kept if there is room; -1 if it could not be. */
  #maps: number | undefined
  #agentWaiters: (() => void)[] = []

  constructor(facts: GroupFacts, pidfd: number, keptMaps: KeptMaps, onGone: (group: ThreadGroup) => void) {
    this.#keptMaps = keptMaps
    this.id = facts.id
    this.pid = facts.pid
    this.start = facts.start
    this.allowance = facts.allowance
    this.#pidfd = pidfd
    this.#poll = kernel.poll(pidfd, () => {
      this.close()
      onGone(this)
    })
    this.#poll.start(1)
  }

  get gone(): boolean {
    return this.#gone
  }

  /**
   * The agent's thread, by the number that it gave, which another pid namespace has for another thread
   * or none. The mappings are opened here, while the program that they are of is most likely there.
   */
  setAgentThread(id: number): void {
    const start = id === this.pid ? undefined : threadStartTimeOf(this.pid, id)
    this.#agentThread = start === undefined ? undefined : { id, start }
    if (this.#maps !== undefined) return
    const maps = this.#openMaps()
    if (maps !== undefined && maps !== this.#maps) kernel.close(maps)
  }

  /**
   * Whether the process still runs the program that said hello; undefined if that cannot be seen.
   * An exec ends every other thread and all mappings. It closes the connections after that, and the
   * connections of a program that goes on may close as well.
   */
  get running(): boolean | undefined {
    if (this.#gone) return false
    const threadLives = this.#agentThreadLives()
    if (threadLives === true) return true
    if (this.#maps === undefined || this.#maps < 0) return threadLives
    if (kernel.mappings(this.#maps, 0n, kernel.pageSize) === undefined) return false
    // A program that closes descriptors which it did not open may have ended its agent's thread. Where
    // no thread was seen when the mappings were opened, they may be the next program's.
    return threadLives === false ? true : undefined
  }

  #agentThreadLives(): boolean | undefined {
    const thread = this.#agentThread
    return thread && threadStartTimeOf(this.pid, thread.id) === thread.start
  }

  /** The process's mappings that have some of a range; undefined if this process may not know. */
  mappings(address: bigint, length: number): Mapping[] | undefined {
    const maps = this.#maps ?? this.#openMaps()
    if (maps === undefined || maps < 0) return undefined
    try {
      return kernel.mappings(maps, address, length)
    } finally {
      if (maps !== this.#maps) kernel.close(maps)
    }
  }

  #openMaps(): number | undefined {
    let descriptor: number
    try {
      descriptor = kernel.mappingsOpen(this.pid)
    } catch (error) {
      // What is refused once is always; what there is no descriptor for now may be had later.
      if (['EACCES', 'EPERM'].includes((error as NodeJS.ErrnoException).code ?? '')) this.#maps = -1
      return undefined
    }
    // Asked after it was opened: if it is right now, it is of that process, and of that program.
    if (this.#gone || startTimeOf(this.pid) !== this.start || this.#agentThreadLives() === false) {
      kernel.close(descriptor)
      this.#maps = -1
    } else if (this.#keptMaps.hasRoom()) {
      this.#maps = descriptor
      this.#keptMaps.count += 1
    } else {
      return descriptor
    }
    return this.#maps
  }

  /** A new agent, or none; whoever waits for one looks again. */
  setAgent(agent: AgentLink | undefined): void {
    this.agent = agent
    this.#wakeWaiters()
  }

  /** The agent, waiting for it to connect if need be. Undefined if it does not come in time or the process ends. */
  async agentWithin(waitMs: number): Promise<AgentLink | undefined> {
    if (this.agent !== undefined || this.#gone) return this.agent
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, waitMs)
      this.#agentWaiters.push(resolve)
    })
    clearTimeout(timer)
    return this.agent
  }

  #wakeWaiters(): void {
    for (const wake of this.#agentWaiters.splice(0)) wake()
  }

  close(): void {
    if (this.#gone) return
    this.#gone = true
    this.#poll.close()
    kernel.close(this.#pidfd)
    if (this.#maps !== undefined && this.#maps >= 0) {
      kernel.close(this.#maps)
      this.#keptMaps.count -= 1
    }
    this.#maps = -1
    this.#wakeWaiters()
  }
}

/** All processes the service knows, by pid; a pid names one living process at a time. */
export class Groups {
  readonly #byPid = new Map<number, ThreadGroup>()
  readonly #byId = new Map<GroupId, ThreadGroup>()
  readonly #allowance: () => MemoryAllowance
  readonly #onGone: (group: ThreadGroup) => void
  readonly #keptMaps: KeptMaps
  #nextId = 1

  /** What the memory of one process may take; and whether one more descriptor may be kept than there must be. */
  constructor(allowance: () => MemoryAllowance, mayKeep: () => boolean, onGone: (group: ThreadGroup) => void) {
    this.#allowance = allowance
    this.#onGone = onGone
    this.#keptMaps = { count: 0, hasRoom: mayKeep }
  }

  /** Descriptors that are open for processes: a pidfd of each, and of some their mappings. */
  get descriptorCount(): number {
    return this.#byId.size + this.#keptMaps.count
  }

  get(id: GroupId): ThreadGroup | undefined {
    return this.#byId.get(id)
  }

  /** The process at the other end of a connection. Takes `peer.pidfd`. */
  ofPeer(peer: Peer): ThreadGroup {
    const start = peer.pid > 0 ? startTimeOf(peer.pid) : undefined
    if (start === undefined) {
      kernel.close(peer.pidfd)
      throw new XpmemError(
        'ESRCH',
        'hello',
        'the service cannot see this process in /proc: run it in the same pid namespace, or in one above',
      )
    }
    const known = this.#known(peer.pid, start)
    if (known === undefined) return this.#add(peer.pid, start, peer.pidfd)
    kernel.close(peer.pidfd)
    return known
  }

  /** A process known only by what somebody said of it; undefined if it is no more. */
  ofPid(pid: number, start: bigint): ThreadGroup | undefined {
    const known = this.#known(pid, start)
    if (known !== undefined) return known
    let pidfd: number
    try {
      pidfd = kernel.pidfdOpen(pid)
    } catch {
      return undefined
    }
    // Asked after the pidfd was opened: if it is right now, the pidfd is of that process.
    if (startTimeOf(pid) === start) return this.#add(pid, start, pidfd)
    kernel.close(pidfd)
    return undefined
  }

  /** What is to the process from now on what the group was; undefined if the process is gone. */
  succeed(group: ThreadGroup): ThreadGroup | undefined {
    this.#drop(group)
    return this.ofPid(group.pid, group.start)
  }

  /** The program that the group stood for has ended, though its process lives. */
  end(group: ThreadGroup): void {
    if (group.gone) return
    group.close()
    this.#gone(group)
  }

  /** Lets go of a process that has nothing here any more, though it lives. */
  forget(group: ThreadGroup): void {
    group.close()
    this.#drop(group)
  }

  close(): void {
    for (const group of this.#byId.values()) group.close()
  }

  #known(pid: number, start: bigint): ThreadGroup | undefined {
    const known = this.#byPid.get(pid)
    if (known === undefined || known.start === start) return known
    // The pid was given again before its pidfd was looked at: the old process is gone.
    known.close()
    this.#gone(known)
    return undefined
  }

  #add(pid: number, start: bigint, pidfd: number): ThreadGroup {
    const facts = { id: this.#nextId, pid, start, allowance: this.#allowance() }
    const group = new ThreadGroup(facts, pidfd, this.#keptMaps, (gone) => this.#gone(gone))
    this.#nextId += 1
    this.#byPid.set(pid, group)
    this.#byId.set(group.id, group)
    return group
  }

  #gone(group: ThreadGroup): void {
    this.#drop(group)
    this.#onGone(group)
  }

  #drop(group: ThreadGroup): void {
    if (this.#byPid.get(group.pid) === group) this.#byPid.delete(group.pid)
    this.#byId.delete(group.id)
  }
}
