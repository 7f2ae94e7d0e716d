import { codeOf, XpmemError } from '../errors.js'
import type { Fill, XpcConnection, XpcInput, XpcMessage, XpcName } from './connection.js'
import type { PeerEntry } from './directory.js'
import { type Dialer, follow, type LinkState, type LinkStateName } from './link-state.js'

/** Who a peer says it is. */
export interface PeerIdentity {
  readonly partition: number
  readonly incarnation: number
}

export interface LinkEvents {
  changed(link: Link): void
  /** A message that is neither an answer nor a sign of life. What it throws ends the connection. */
  message(link: Link, message: XpcMessage): void
  /** The link is down: takes down what hung on it, before another connection may come. */
  down(link: Link, why: XpmemError): Promise<void>
}

export interface LinkOptions {
  readonly peer: PeerEntry
  readonly heartbeatMs: number
  readonly events: LinkEvents
}

interface Pending {
  readonly name: XpcName
  resolve(answer: XpcMessage): void
  reject(error: XpmemError): void
  readonly timer: NodeJS.Timeout
}

interface Current {
  readonly connection: XpcConnection
  readonly dialer: Dialer
  readonly identity: PeerIdentity
}

/** Messages that answer a request of this end. */
const answers: ReadonlySet<XpcName> = new Set(['done', 'failure', 'found', 'got', 'places', 'peeked'])

/** Heartbeats without a word after which a peer is taken for gone. */
const silentHeartbeats = 5

/** How much of a new round-trip time goes into the one that is shown. */
const smoothing = 1 / 8

/** What this service knows of one peer, and the connection to it while there is one. */
export class Link {
  readonly peer: PeerEntry
  readonly #heartbeatMs: number
  readonly #events: LinkEvents
  readonly #pending = new Map<number, Pending>()
  #state: LinkState = { name: 'inactive', reason: 'not tried yet', sinceMs: Date.now() }
  #current: Current | undefined
  /** Of the last connection that there was. */
  #identity: PeerIdentity | undefined
  #heartbeat: NodeJS.Timeout | undefined
  #heardMs = 0
  #pingedMs = 0
  #lastPing = 0
  #rttMs: number | undefined
  #lastRequest = 0
  #bytesBefore = { in: 0, out: 0 }

  constructor(options: LinkOptions) {
    this.peer = options.peer
    this.#heartbeatMs = options.heartbeatMs
    this.#events = options.events
  }

  get state(): LinkState {
    return this.#state
  }

  get active(): boolean {
    return this.#state.name === 'active'
  }

  /** Of the peer as it is, or was last. */
  get identity(): PeerIdentity | undefined {
    return this.#identity
  }

  get current(): { readonly dialer: Dialer; readonly incarnation: number } | undefined {
    const { dialer, identity } = this.#current ?? {}
    return dialer === undefined || identity === undefined ? undefined : { dialer, incarnation: identity.incarnation }
  }

  /** Milliseconds that a message takes there and back, smoothed; undefined before the first. */
  get rttMs(): number | undefined {
    return this.#rttMs
  }

  get bytes(): { readonly in: number; readonly out: number } {
    const { in: before, out } = this.#bytesBefore
    const { connection } = this.#current ?? {}
    return { in: before + (connection?.bytesIn ?? 0), out: out + (connection?.bytesOut ?? 0) }
  }

  /** A connection is being made. */
  activating(reason: string): void {
    this.#become('activating', reason)
  }

  /** It could not be made. */
  failed(reason: string): void {
    if (this.#state.name === 'activating') this.#become('inactive', reason)
  }

  /** Both have said hello over a connection; there is no other. */
  activate(connection: XpcConnection, dialer: Dialer, identity: PeerIdentity): void {
    this.#current = { connection, dialer, identity }
    this.#identity = identity
    this.#rttMs = undefined
    this.#heardMs = Date.now()
    this.#heartbeat = setInterval(() => this.#beat(), this.#heartbeatMs)
    this.#heartbeat.unref()
    this.#become('active', `connected ${dialer === 'here' ? 'to' : 'from'} ${connection.remote}`)
    this.#ping()
  }

  /** Whether the link's messages go over this connection now. */
  uses(connection: XpcConnection): boolean {
    return this.#current?.connection === connection
  }

  /** A message that came over the connection. */
  take(message: XpcMessage): void {
    this.#heardMs = Date.now()
    if (message.name === 'ping') this.#current?.connection.send('pong', message.request, {})
    else if (message.name === 'pong') this.#ponged(message.request)
    else if (answers.has(message.name)) this.#answered(message)
    else this.#events.message(this, message)
  }

  send<N extends XpcName>(name: N, request: number, input: XpcInput<N>): void {
    this.#current?.connection.send(name, request, input)
  }

  /** As `send`, of a message that ends with `bytes` bytes, which `fill` writes. */
  sendFilled<N extends XpcName>(name: N, input: XpcInput<N>, bytes: number, fill: Fill): void {
    this.#current?.connection.sendFilled(name, input, bytes, fill)
  }

  /** The peer's answer; rejects with what it refused, EHOSTUNREACH if the link goes down, ETIMEDOUT. */
  request<N extends XpcName>(name: N, input: XpcInput<N>, timeoutMs: number): Promise<XpcMessage> {
    const { connection } = this.#current ?? {}
    if (connection === undefined) return Promise.reject(this.unreachable(name))
    this.#lastRequest = (this.#lastRequest % 0xffff_ffff) + 1
    const request = this.#lastRequest
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(request)
        reject(new XpmemError('ETIMEDOUT', name, `partition '${this.peer.name}' did not answer within ${timeoutMs} ms`))
      }, timeoutMs)
      this.#pending.set(request, { name, resolve, reject, timer })
      connection.send(name, request, input)
    })
  }

  unreachable(call: string): XpmemError {
    const { name, reason } = this.#state
    return new XpmemError('EHOSTUNREACH', call, `partition '${this.peer.name}' is ${name}: ${reason}`)
  }

  /** Ends the connection, and what hung on it. */
  async deactivate(why: XpmemError, tellPeer: boolean): Promise<void> {
    const { connection } = this.#current ?? {}
    if (connection === undefined) return
    this.#current = undefined
    clearInterval(this.#heartbeat)
    this.#bytesBefore = {
      in: this.#bytesBefore.in + connection.bytesIn,
      out: this.#bytesBefore.out + connection.bytesOut,
    }
    if (tellPeer) connection.refuse(why)
    else connection.close()
    this.#become('deactivating', why.reason)
    for (const { timer, reject } of this.#pending.values()) {
      clearTimeout(timer)
      reject(this.unreachable('xpc'))
    }
    this.#pending.clear()
    await this.#events.down(this, why)
    this.#become('inactive', why.reason)
  }

  #become(name: LinkStateName, reason: string): void {
    this.#state = follow(this.#state, name, reason, Date.now())
    this.#events.changed(this)
  }

  #answered(message: XpcMessage): void {
    const pending = this.#pending.get(message.request)
    // One that comes after its time is dropped.
    if (pending === undefined) return
    this.#pending.delete(message.request)
    clearTimeout(pending.timer)
    // Whoever asked looks at it later.
    if (message.name === 'peeked') return pending.resolve({ ...message, bytes: message.bytes.slice() })
    if (message.name !== 'failure') return pending.resolve(message)
    pending.reject(new XpmemError(codeOf(message.errno), pending.name, message.text))
  }

  #beat(): void {
    const silentMs = Date.now() - this.#heardMs
    if (silentMs > silentHeartbeats * this.#heartbeatMs) {
      void this.deactivate(new XpmemError('ETIMEDOUT', 'xpc', `nothing was heard of it for ${silentMs} ms`), true)
    } else this.#ping()
  }

  #ping(): void {
    this.#pingedMs = performance.now()
    this.#lastPing = (this.#lastPing + 1) >>> 0
    this.send('ping', this.#lastPing, {})
  }

  #ponged(request: number): void {
    if (request !== this.#lastPing || this.#pingedMs === 0) return
    const took = performance.now() - this.#pingedMs
    this.#pingedMs = 0
    this.#rttMs = this.#rttMs === undefined ? took : this.#rttMs + (took - this.#rttMs) * smoothing
  }
}
