import { codeOf, XpmemError } from '../errors.js'
import type { Channel } from '../transport/channel.js'
import { closeAll, type Descriptor } from '../transport/descriptor.js'
import type { Message, MessageInput } from '../wire/codec.js'
import type { MessageName } from '../wire/schema.js'

export interface AgentAnswer {
  readonly message: Message
  /** The receiver's to close. */
  readonly descriptors: number[]
}

interface Pending {
  resolve(answer: AgentAnswer): void
  reject(error: XpmemError): void
  readonly timer: NodeJS.Timeout
}

/** The service's end of an agent's connection: requests go out, answers come back in any order. */
export class AgentLink {
  readonly #channel: Channel
  readonly #pending = new Map<number, Pending>()
  #lastRequest = 0

  constructor(channel: Channel) {
    this.#channel = channel
  }

  /** The agent has not read what it was asked before. */
  get congested(): boolean {
    return this.#channel.congested
  }

  /** Rejects with what the agent said, ETIMEDOUT after `timeoutMs`, or ECONNRESET if it goes away. */
  request<N extends MessageName>(
    name: N,
    input: MessageInput<N>,
    timeoutMs: number,
    descriptors: readonly Descriptor[] = [],
  ): Promise<AgentAnswer> {
    if (this.#channel.closed) return Promise.reject(new XpmemError('ECONNRESET', name, 'the agent is gone'))
    this.#lastRequest = (this.#lastRequest + 1) >>> 0
    const request = this.#lastRequest
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(request)
        reject(new XpmemError('ETIMEDOUT', name, `the process's agent did not answer within ${timeoutMs} ms`))
      }, timeoutMs)
      this.#pending.set(request, { resolve, reject, timer })
      this.#channel.send(name, request, input, descriptors)
    })
  }

  /** Takes an answer; one that comes too late is dropped. */
  answer(message: Message, descriptors: number[]): void {
    const pending = this.#pending.get(message.request)
    if (pending === undefined) return closeAll(descriptors)
    this.#pending.delete(message.request)
    clearTimeout(pending.timer)
    if (message.name !== 'failure') return pending.resolve({ message, descriptors })
    closeAll(descriptors)
    pending.reject(new XpmemError(codeOf(message.errno), 'agent', message.text))
  }

  /** The connection is closed: whoever waits is told. */
  close(): void {
    this.#channel.close()
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer)
      pending.reject(new XpmemError('ECONNRESET', 'agent', 'the process went away'))
    }
    this.#pending.clear()
  }
}
