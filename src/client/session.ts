import { EventEmitter } from 'node:events'
import { isMainThread } from 'node:worker_threads'
import { asXpmemError, codeOf, XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import type { RuntimePaths } from '../runtime-directory.js'
import { Channel } from '../transport/channel.js'
import { closeAll, type Descriptor } from '../transport/descriptor.js'
import { encodeOwn, type Message, type MessageInput } from '../wire/codec.js'
import { type MessageName, protocolVersion, role } from '../wire/schema.js'
import { connectOrStart } from './connect.js'

export interface SessionAnswer {
  readonly message: Message
  /** The receiver's to close. */
  readonly descriptors: readonly number[]
}

interface Pending {
  readonly name: MessageName
  readonly input: object
  readonly descriptors: readonly Descriptor[]
  /** Belongs to this connection alone: not sent again over the next. */
  readonly once: boolean
  resolve(answer: SessionAnswer): void
  reject(error: XpmemError): void
}

export interface SessionOptions {
  readonly paths: RuntimePaths
  readonly autoStart: boolean
  /** Registers everything again with a service that has forgotten; before anything else is sent. */
  restore(send: Session['request']): Promise<void>
}

interface SessionEvents {
  disconnected: []
  reconnected: []
  /** What the service tells unasked. */
  rolledBack: [message: Message & { name: 'rolledBack' }]
}

const firstRetryMs = 20
const maxRetryMs = 1_000

/** How long a call waits for the service to come back. */
const giveUpAfterMs = 10_000

/** How long the service may take to answer a hello. */
const helloTimeoutMs = 10_000

/** How often a session that waits for an answer looks whether the service still turns. */
const pulseMs = 5_000

/**
 * The client's control connection: requests go out with numbers, answers come back in any order.
 * When the service goes away it connects again, restores what it had, and sends again what was not
 * answered: a service keeps its state in memory only, so a new one has done none of it.
 */
export class Session extends EventEmitter<SessionEvents> {
  readonly #options: SessionOptions
  readonly #pending = new Map<number, Pending>()
  #channel: Channel | undefined
  #serviceStart = 0n
  #state: 'opening' | 'open' | 'lost' | 'closed' = 'opening'
  #lostAtMs = 0
  #lastRequest = 0
  #heard = false
  #pinged = false
  #pulse: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined
  #keepAlive = false

  private constructor(options: SessionOptions) {
    super()
    this.#options = options
  }

  static async open(options: SessionOptions): Promise<Session> {
    const session = new Session(options)
    await session.#connect(options.autoStart, true)
    return session
  }

  get connected(): boolean {
    return this.#state === 'open'
  }

  /** Whether the session keeps the process alive; while a request is under way it does anyway. */
  set keepAlive(value: boolean) {
    this.#keepAlive = value
    this.#updateRef()
  }

  /** The service's answer; rejects with what it refused, or ETIMEDOUT if it does not come back. */
  readonly request = <N extends MessageName>(
    name: N,
    input: MessageInput<N>,
    descriptors: readonly Descriptor[] = [],
  ): Promise<SessionAnswer> => {
    if (this.#state === 'closed') return Promise.reject(new XpmemError('ECANCELED', name, 'the partition is closed'))
    if (this.#state === 'lost' && this.#hasGivenUp()) return Promise.reject(this.#unreachable(name))
    return new Promise((resolve, reject) => {
      this.#add({ name, input, descriptors, once: false, resolve, reject }, this.#state === 'open')
    })
  }

  /** Says goodbye: what this session made and got goes with it. */
  close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#channel?.send('goodbye', 0, {})
    this.#channel?.close()
    clearTimeout(this.#retry)
    clearInterval(this.#pulse)
    this.#failPending(new XpmemError('ECANCELED', 'close', 'the partition was closed meanwhile'))
  }

  #add(pending: Pending, sendNow: boolean): void {
    this.#lastRequest = (this.#lastRequest % 0xffff_ffff) + 1
    for (const descriptor of pending.descriptors) descriptor.retain()
    this.#pending.set(this.#lastRequest, pending)
    if (this.#pending.size === 1) this.#startPulse()
    if (sendNow) this.#send(this.#lastRequest, pending)
  }

  #send(request: number, pending: Pending): void {
    try {
      this.#channel?.send(pending.name, request, pending.input as MessageInput<MessageName>, pending.descriptors)
    } catch (error) {
      this.#settle(request)
      pending.reject(asXpmemError(error, pending.name))
    }
  }

  #settle(request: number): Pending | undefined {
    const pending = this.#pending.get(request)
    if (pending === undefined) return undefined
    this.#pending.delete(request)
    for (const descriptor of pending.descriptors) descriptor.release()
    if (this.#pending.size === 0) this.#updateRef()
    return pending
  }

  async #connect(autoStart: boolean, ref: boolean): Promise<void> {
    const unanswered = new Set(this.#pending.keys())
    const socket = await connectOrStart(this.#options.paths, autoStart, ref)
    const welcome = await this.#greet(socket)
    if (this.#isClosed()) return
    const isNew = welcome.serviceStart !== this.#serviceStart
    this.#serviceStart = welcome.serviceStart
    await this.#options.restore(this.#requestNow)
    if (this.#isClosed()) return
    this.#state = 'open'
    for (const request of unanswered) this.#sendAgain(request, isNew)
    for (const [request, pending] of this.#pending) if (!unanswered.has(request)) this.#send(request, pending)
  }

  #sendAgain(request: number, isNew: boolean): void {
    const pending = this.#pending.get(request)
    if (pending === undefined) return
    if (isNew) return this.#send(request, pending)
    this.#settle(request)
    pending.reject(new XpmemError('ECONNRESET', pending.name, 'the service closed the connection before it answered'))
  }

  readonly #requestNow = <N extends MessageName>(
    name: N,
    input: MessageInput<N>,
    descriptors: readonly Descriptor[] = [],
  ): Promise<SessionAnswer> =>
    new Promise((resolve, reject) => {
      this.#add({ name, input, descriptors, once: true, resolve, reject }, true)
    })

  /** Says hello and waits for the welcome. ETIMEDOUT if the service takes the connection and says nothing. */
  #greet(socket: number): Promise<Message & { name: 'welcome' }> {
    return new Promise((resolve, reject) => {
      const refuse = (error: XpmemError) => {
        clearTimeout(timer)
        channel.close()
        reject(error)
      }
      const channel = new Channel(socket, 'always', {
        message: (message, descriptors) => {
          if (this.#channel === channel) return this.#take(message, descriptors)
          closeAll(descriptors)
          if (message.name !== 'welcome') return refuse(refusal(message))
          clearTimeout(timer)
          this.#adopt(channel)
          resolve(message)
        },
        end: (error) => {
          if (this.#channel === channel) this.#lost()
          else refuse(error ?? new XpmemError('ECONNRESET', 'open', 'the service closed the connection'))
        },
      })
      const timer = setTimeout(() => {
        refuse(new XpmemError('ETIMEDOUT', 'open', `the service did not answer within ${helloTimeoutMs} ms`))
      }, helloTimeoutMs)
      if (this.#isNeeded() || this.#state === 'opening') channel.ref()
      else timer.unref()
      channel.send('hello', 0, { version: protocolVersion, role: role.control, image: kernel.image() })
    })
  }

  #adopt(channel: Channel): void {
    if (this.#state === 'closed') return channel.close()
    this.#channel = channel
    // A worker's end is the end of its session. The main thread's is the end of the process, which its
    // pidfd tells, so that attachments may outlive it where they were asked to.
    if (!isMainThread) channel.setFarewell(encodeOwn('goodbye', 0, {}))
    this.#updateRef()
  }

  #take(message: Message, descriptors: number[]): void {
    this.#heard = true
    const pending = this.#settle(message.request)
    if (pending === undefined) {
      closeAll(descriptors)
      return this.#unasked(message)
    }
    if (message.name === 'extents') return pending.resolve({ message, descriptors })
    // Nothing else brings descriptors that anybody would take.
    closeAll(descriptors)
    if (message.name !== 'failure') return pending.resolve({ message, descriptors: [] })
    pending.reject(new XpmemError(codeOf(message.errno), pending.name, message.text))
  }

  /** News, or an answer that comes after its caller was told ETIMEDOUT: what that gave is given back. */
  #unasked(message: Message): void {
    if (message.name === 'made') this.#channel?.send('remove', 0, { segid: message.segid })
    else if (message.name === 'rolledBack') this.emit('rolledBack', message)
    else if (message.name === 'got') this.#channel?.send('release', 0, { apid: message.apid })
  }

  #lost(): void {
    this.#channel = undefined
    for (const [request, { name, once }] of [...this.#pending]) {
      if (once) this.#settle(request)?.reject(new XpmemError('ECONNRESET', name, 'the service went away'))
    }
    // While the state is being restored, `#reconnect` hears of it by the rejection above.
    if (this.#state !== 'open') return
    this.#state = 'lost'
    this.#lostAtMs = performance.now()
    this.emit('disconnected')
    this.#reconnectAfter(0)
  }

  #reconnectAfter(waitMs: number): void {
    // Many clients lose the same service at once: they do not all come back at once.
    this.#retry = setTimeout(() => void this.#reconnect(waitMs), waitMs * (0.5 + Math.random()))
    this.#updateRef()
  }

  async #reconnect(waitedMs: number): Promise<void> {
    try {
      // The first tries leave it to others, or to a service manager, to start the next service.
      await this.#connect(this.#options.autoStart && waitedMs > firstRetryMs, this.#isNeeded())
      this.#retry = undefined
      this.emit('reconnected')
    } catch {
      if (this.#state === 'closed') return
      this.#channel?.close()
      this.#channel = undefined
      if (this.#hasGivenUp()) this.#failPending(undefined)
      this.#reconnectAfter(Math.min(Math.max(waitedMs * 2, firstRetryMs), maxRetryMs))
    }
  }

  #isClosed(): boolean {
    return this.#state === 'closed'
  }

  #hasGivenUp(): boolean {
    return performance.now() - this.#lostAtMs > giveUpAfterMs
  }

  #unreachable(name: string): XpmemError {
    const { paths } = this.#options
    return new XpmemError('ETIMEDOUT', name, `the service on ${paths.socket} is gone and has not come back`)
  }

  /** Every waiting call ends with `error`, or with ETIMEDOUT under its own name. */
  #failPending(error: XpmemError | undefined): void {
    for (const request of [...this.#pending.keys()]) {
      const pending = this.#settle(request)
      pending?.reject(error ?? this.#unreachable(pending.name))
    }
  }

  /** The pulse goes on until it finds nothing to wait for; starting a timer for each request costs more. */
  #startPulse(): void {
    this.#heard = true
    if (this.#pulse === undefined) {
      this.#pulse = setInterval(() => this.#beat(), pulseMs)
      this.#pulse.unref()
    }
    this.#updateRef()
  }

  /** A service that answers neither a request nor a ping for two beats is stuck: who waits is told. */
  #beat(): void {
    if (this.#pending.size === 0) {
      clearInterval(this.#pulse)
      this.#pulse = undefined
      return
    }
    if (this.#state !== 'open') return
    if (this.#heard) {
      this.#pinged = false
    } else if (this.#pinged) {
      this.#failPending(undefined)
      return
    } else {
      this.#pinged = true
      this.#channel?.send('ping', 0, {})
    }
    this.#heard = false
  }

  #isNeeded(): boolean {
    return this.#keepAlive || this.#pending.size > 0
  }

  #updateRef(): void {
    if (this.#isNeeded()) {
      this.#channel?.ref()
      this.#retry?.ref()
    } else {
      this.#channel?.unref()
      this.#retry?.unref()
    }
  }
}

function refusal(message: Message): XpmemError {
  if (message.name === 'failure') return new XpmemError(codeOf(message.errno), 'open', message.text)
  return new XpmemError('EPROTO', 'open', `the service answered a hello with ${message.name}`)
}
