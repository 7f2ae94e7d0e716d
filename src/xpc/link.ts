import { codeOf, XpmemError } from '../errors.js'
import type { Pages, PagesName } from '../wire/pages-codec.js'
import type { PageContent, XpcConnection, XpcInput, XpcMessage, XpcName } from './connection.js'
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
  /** An answer that nobody waits for, or not any more. */
  late(link: Link, answer: XpcMessage): void
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

/**
 * Heartbeats without a word after which a peer is taken for gone. They are counted, not timed: a
 * service that was stopped itself, or whose clock was set, has not listened meanwhile.
 */
const maxSilentBeats = 5

/** How much of a new round-trip time goes into the one that is shown. */
const smoothing = 1 / 8

/** What this service knows of one peer, and the connection to it while there is one. */
export class Link {
  readonly peer: PeerEntry
  readonly #heartbeatMs: number
  readonly #events: LinkEvents
  readonly #pending = new Map<number, Pending>()
  #state: LinkState
  #current: Current | undefined
  /** Of the last connection that there was. */
  #identity: PeerIdentity | undefined
  #heartbeat: NodeJS.Timeout | undefined
  #silentBeats = 0
  /** When the ping was sent that no pong has come for; 0 if one has. */
  #pingedMs = 0
  #lastPing = 0
  #rttMs: number | undefined
  #lastRequest = 0
  #bytesBefore = { in: 0, out: 0 }
  /** The end of what hung on the last connection. */
  #takenDown: Promise<void> = Promise.resolve()

  constructor(options: LinkOptions) {
    this.peer = options.peer
    this.#heartbeatMs = options.heartbeatMs
    this.#events = options.events
    const reason = options.peer.address === undefined ? 'it has not connected yet' : 'not tried yet'
    this.#state = { name: 'inactive', reason, sinceMs: Date.now() }
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
    this.#silentBeats = 0
    this.#pingedMs = 0
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
    this.#silentBeats = 0
    if (message.name === 'ping') this.#current?.connection.send('pong', message.request, {})
    else if (message.name === 'pong') this.#ponged(message.request)
    else if (answers.has(message.name)) this.#answered(message)
    else this.#events.message(this, message)
  }

  send<N extends XpcName>(name: N, request: number, input: XpcInput<N>): void {
    this.#current?.connection.send(name, request, input)
  }

  /** As `send`, of a message about pages; a part of a file must not change before it has left. */
  sendPages(name: PagesName, pages: Pages, content?: PageContent): void {
    this.#current?.connection.sendPages(name, pages, content)
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

  /** Ends the connection, and what hung on it, which is done when this resolves, whoever began it. */
  deactivate(why: XpmemError, tellPeer: boolean): Promise<void> {
    const { connection } = this.#current ?? {}
    if (connection !== undefined) {
      this.#bytesBefore = this.bytes
      this.#current = undefined
      clearInterval(this.#heartbeat)
      if (tellPeer) connection.refuse(why)
      else connection.close()
      this.#takenDown = this.#takeDown(why)
    }
    return this.#takenDown
  }

  async #takeDown(why: XpmemError): Promise<void> {
    this.#become('deactivating', why.reason)
    for (const { timer, reject } of this.#pending.values()) {
      clearTimeout(timer)
      reject(this.unreachable('xpc'))
    }
    this.#pending.clear()
    try {
      await this.#events.down(this, why)
    } finally {
      this.#become('inactive', why.reason)
    }
  }

  #become(name: LinkStateName, reason: string): void {
    this.#state = follow(this.#state, name, reason, Date.now())
    this.#events.changed(this)
  }

  #answered(message: XpcMessage): void {
    const pending = this.#pending.get(message.request)
    if (pending === undefined) return this.#events.late(this, message)
    this.#pending.delete(message.request)
    clearTimeout(pending.timer)
    // Whoever asked looks at it later.
    if (message.name === 'peeked') return pending.resolve({ ...message, bytes: message.bytes.slice() })
    if (message.name !== 'failure') return pending.resolve(message)
    pending.reject(new XpmemError(codeOf(message.errno), pending.name, message.text))
  }

  #beat(): void {
    if (this.#silentBeats === maxSilentBeats) {
      const why = `nothing was heard of it for ${maxSilentBeats} heartbeats of ${this.#heartbeatMs} ms`
      void this.deactivate(new XpmemError('ETIMEDOUT', 'xpc', why), true)
      return
    }
    this.#silentBeats += 1
    this.#ping()
  }

  /** One that takes longer than a heartbeat is asked for again by the same number, and timed from the first. */
  #ping(): void {
    if (this.#pingedMs === 0) {
      this.#pingedMs = performance.now()
      this.#lastPing = (this.#lastPing + 1) >>> 0
    }
    this.send('ping', this.#lastPing, {})
  }

  #ponged(request: number): void {
    if (request !== this.#lastPing || this.#pingedMs === 0) return
    const took = performance.now() - this.#pingedMs
    this.#pingedMs = 0
    this.#rttMs = this.#rttMs === undefined ? took : this.#rttMs + (took - this.#rttMs) * smoothing
  }
}
