import { XpmemError } from '../errors.js'
import { type AgentHandle, kernel, trust } from '../kernel/index.js'
import type { RuntimePaths } from '../runtime-directory.js'
import { reason } from '../wire/schema.js'
import { Attachment, type RevocationReason } from './attachment.js'

const revocationReasons: ReadonlyMap<number, RevocationReason> = new Map([
  [reason.ownerExit, 'owner-exit'],
  [reason.partition, 'partition'],
])

/** How long a process's own agent may take to connect. */
const connectTimeoutMs = 10_000

/** This thread's share of the process's agent for one service. */
export class Agent {
  static readonly #open = new Map<string, Agent>()
  readonly handle: AgentHandle
  readonly #key: string
  #users = 0
  #connected = false
  readonly #waiters = new Set<() => void>()

  private constructor(paths: RuntimePaths, key: string) {
    this.#key = key
    // Who names a directory knows whose it is; the default may be anybody's who was there first.
    this.handle = kernel.agentOpen(paths.socket, paths.isDefault ? trust.ownUser : trust.anybody, {
      connected: (connected) => this.#tell(connected),
      revoked: (buffer, why) => {
        Attachment.of(buffer)?.revoke(revocationReasons.get(why) ?? 'removed')
      },
    })
  }

  /** The agent for the service at these paths; each `open` wants a `close`. */
  static open(paths: RuntimePaths): Agent {
    const key = `${paths.isDefault} ${paths.socket}`
    let agent = Agent.#open.get(key)
    if (agent === undefined) {
      agent = new Agent(paths, key)
      Agent.#open.set(key, agent)
    }
    agent.#users += 1
    return agent
  }

  close(): void {
    this.#users -= 1
    if (this.#users > 0) return
    Agent.#open.delete(this.#key)
    kernel.agentClose(this.handle)
  }

  #tell(connected: boolean): void {
    this.#connected = connected
    if (!connected) return
    for (const wake of this.#waiters) wake()
  }

  /** Rejects with ETIMEDOUT if the agent does not reach the service. */
  async whenConnected(): Promise<void> {
    if (this.#connected) return
    let timer: NodeJS.Timeout | undefined
    let wake: (() => void) | undefined
    try {
      await new Promise<void>((resolve, reject) => {
        wake = resolve
        this.#waiters.add(resolve)
        timer = setTimeout(() => {
          reject(new XpmemError('ETIMEDOUT', 'open', "this process's agent did not reach the service"))
        }, connectTimeoutMs)
      })
    } finally {
      clearTimeout(timer)
      if (wake !== undefined) this.#waiters.delete(wake)
    }
  }
}
