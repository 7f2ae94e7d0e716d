import { XpmemError } from '../errors.js'
import { type AgentHandle, kernel } from '../kernel/index.js'
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
  readonly #socketPath: string
  #users = 0
  #connected = false
  readonly #waiters = new Set<() => void>()

  private constructor(socketPath: string) {
    this.#socketPath = socketPath
    this.handle = kernel.agentOpen(socketPath, {
      connected: (connected) => this.#tell(connected),
      revoked: (buffer, why) => {
        Attachment.of(buffer)?.revoke(revocationReasons.get(why) ?? 'removed')
      },
    })
  }

  /** The agent for the service at the path; each `open` wants a `close`. */
  static open(socketPath: string): Agent {
    let agent = Agent.#open.get(socketPath)
    if (agent === undefined) {
      agent = new Agent(socketPath)
      Agent.#open.set(socketPath, agent)
    }
    agent.#users += 1
    return agent
  }

  close(): void {
    this.#users -= 1
    if (this.#users > 0) return
    Agent.#open.delete(this.#socketPath)
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
