import { createServer, type Server, type Socket, connect as tcpConnect } from 'node:net'
import { asXpmemError, XpmemError } from '../errors.js'
import { XpcConnection } from './connection.js'
import { type Address, formatAddress, type PeerEntry } from './directory.js'
import {
  checkHello,
  greet,
  type Hello,
  helloTimeoutMs,
  otherPartition,
  sayHello,
  unknownPartition,
} from './greeting.js'
import { Link, type LinkEvents, type PeerIdentity } from './link.js'
import { type Dialer, takesPlace } from './link-state.js'

export interface MembershipOptions {
  readonly name: string
  readonly partitionId: number
  incarnation(): number
  readonly listen: Address | undefined
  readonly peers: readonly PeerEntry[]
  readonly heartbeatMs: number
  readonly events: LinkEvents
}

/** How long to wait before a connection is tried again: from the first to the last, doubling. */
const firstRetryMs = 100
const lastRetryMs = 2_000

/** Connections that came in and are no peer's, the refused ones until they are closed among them. */
const maxStrangers = 64

interface Member {
  readonly link: Link
  dialing: XpcConnection | Socket | undefined
  retry: NodeJS.Timeout | undefined
  retryMs: number
  /** Who waits for the connection that is being made. */
  waiters: (() => void)[]
}

/** The partitions of a static directory: makes and takes connections, one for each peer. */
export class Membership {
  readonly #options: MembershipOptions
  readonly #members = new Map<string, Member>()
  /** Connections that came in and are not closed yet, the oldest first. */
  readonly #callers = new Set<XpcConnection>()
  #server: Server | undefined
  #closed = false

  /** EINVAL for a peer named twice, or as this partition is. */
  constructor(options: MembershipOptions) {
    this.#options = options
    for (const peer of options.peers) {
      if (peer.name === options.name) throw new XpmemError('EINVAL', 'serve', `'${peer.name}' is this partition itself`)
      if (this.#members.has(peer.name)) throw new XpmemError('EINVAL', 'serve', `peer '${peer.name}' is given twice`)
      const events: LinkEvents = { ...options.events, changed: (changed) => this.#changed(changed) }
      const link = new Link({ peer, heartbeatMs: options.heartbeatMs, events })
      this.#members.set(peer.name, { link, dialing: undefined, retry: undefined, retryMs: firstRetryMs, waiters: [] })
    }
  }

  /** Listens, and begins to connect. Resolves to where it listens; rejects with what listening failed with. */
  async start(): Promise<Address | undefined> {
    const { listen } = this.#options
    const address = listen === undefined ? undefined : await this.#listen(listen)
    for (const member of this.#members.values()) this.#dial(member)
    return address
  }

  get links(): Link[] {
    return [...this.#members.values()].map(({ link }) => link)
  }

  /** The partition of a name. ENOENT if it is not in the directory. */
  byName(name: string, call: string): Link {
    const link = this.#members.get(name)?.link
    if (link !== undefined) return link
    throw new XpmemError(
      'ENOENT',
      call,
      `no partition is named '${name}': start the service with --peer ${name}=HOST:PORT`,
    )
  }

  /** The partition of a number, as its service last said it. */
  byId(partition: number): Link | undefined {
    const known = this.links.filter((link) => link.identity?.partition === partition)
    return known.find((link) => link.active) ?? known[0]
  }

  /**
   * Resolves once the link is active; tries to connect at once if it is not. EHOSTUNREACH if that
   * fails, or takes longer than a hello may.
   */
  async reach(link: Link, call: string): Promise<void> {
    const member = this.#members.get(link.peer.name) as Member
    if (link.state.name === 'inactive') this.#dial(member)
    if (link.state.name !== 'active' && link.state.name !== 'inactive') {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, helloTimeoutMs)
        member.waiters.push(() => {
          clearTimeout(timer)
          resolve()
        })
      })
    }
    if (!link.active) throw link.unreachable(call)
  }

  /** Resolves once every peer is connected or cannot be. */
  async reachAll(): Promise<void> {
    await Promise.allSettled(this.links.map((link) => this.reach(link, 'xpc')))
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#server?.close()
    for (const stranger of this.#strangers()) stranger.close()
    const why = new XpmemError('ECANCELED', 'xpc', 'the service is closing')
    for (const member of this.#members.values()) {
      clearTimeout(member.retry)
      stopDialing(member)
      this.#settle(member)
    }
    await Promise.all(this.links.map((link) => link.deactivate(why, true)))
  }

  #listen(address: Address): Promise<Address> {
    const server = createServer({ pauseOnConnect: true }, (socket) => this.#accept(socket))
    this.#server = server
    return new Promise((resolve, reject) => {
      // One that comes while it listens, such as a connection that could not be accepted, concerns nobody else.
      server.on('error', (error) => {
        const { code, reason } = asXpmemError(error, 'serve')
        reject(new XpmemError(code, 'serve', `cannot listen on ${formatAddress(address)}: ${reason}`))
      })
      server.listen({ host: address.host, port: address.port, exclusive: true }, () => {
        const bound = server.address()
        resolve({ host: address.host, port: typeof bound === 'object' && bound !== null ? bound.port : address.port })
      })
    })
  }

  #accept(socket: Socket): void {
    let connection: XpcConnection
    try {
      connection = greet(socket, {
        identify: (message) => this.#helloFrom(message),
        adopt: (link, connection, message) => this.#adopt(link, connection, 'there', message),
        failed: () => {},
        closed: (ended) => this.#callers.delete(ended),
      })
    } catch {
      // It has gone already, or there is no descriptor left: who calls tries again.
      socket.destroy()
      return
    }
    this.#callers.add(connection)
    if (this.#callers.size > maxStrangers + this.#members.size) this.#makeRoom()
  }

  /** Closes the oldest connection that is nobody's, so that those who say nothing keep nobody out. */
  #makeRoom(): void {
    const [oldest] = this.#strangers()
    if (oldest === undefined) return
    this.#callers.delete(oldest)
    oldest.close()
  }

  #strangers(): XpcConnection[] {
    return [...this.#callers].filter((caller) => !this.links.some((link) => link.uses(caller)))
  }

  #dial(member: Member): void {
    const { link } = member
    const { address } = link.peer
    if (this.#closed || address === undefined || link.state.name !== 'inactive') return
    clearTimeout(member.retry)
    const where = formatAddress(address)
    link.activating(`connecting to ${where}`)
    const socket = tcpConnect(address)
    socket.unref()
    member.dialing = socket
    const timer = setTimeout(() => socket.destroy(new Error(`${where} does not answer`)), helloTimeoutMs)
    timer.unref()
    socket.once('error', (error) => this.#dialFailed(member, socket, asXpmemError(error, 'xpc').reason))
    socket.once('close', () => clearTimeout(timer))
    socket.once('connect', () => {
      clearTimeout(timer)
      try {
        member.dialing = this.#greetMember(member, socket)
      } catch (error) {
        socket.destroy()
        this.#dialFailed(member, socket, asXpmemError(error, 'xpc').reason)
      }
    })
  }

  #greetMember(member: Member, socket: Socket): XpcConnection {
    const connection = greet(socket, {
      identify: (message) => this.#helloOf(member, message),
      adopt: (link, connection, message) => this.#adopt(link, connection, 'here', message),
      failed: (connection, why) => this.#dialFailed(member, connection, why.reason),
      closed: () => {},
    })
    sayHello(connection, this.#options)
    return connection
  }

  #dialFailed(member: Member, dialed: Socket | XpcConnection, reason: string): void {
    if (member.dialing !== dialed) return
    member.dialing = undefined
    member.link.failed(reason)
  }

  #changed(link: Link): void {
    this.#options.events.changed(link)
    const member = this.#members.get(link.peer.name) as Member
    if (link.state.name === 'inactive') this.#retryLater(member)
    if (link.state.name === 'inactive' || link.active) this.#settle(member)
  }

  #retryLater(member: Member): void {
    if (this.#closed) return
    clearTimeout(member.retry)
    member.retry = setTimeout(() => this.#dial(member), member.retryMs)
    member.retry.unref()
    member.retryMs = Math.min(member.retryMs * 2, lastRetryMs)
  }

  #settle(member: Member): void {
    for (const wake of member.waiters.splice(0)) wake()
  }

  /** Who comes in, if it may. */
  #helloFrom(message: Hello): Link {
    checkHello(message, this.#options, this.links)
    const link = this.#members.get(message.text)?.link
    if (link === undefined) throw unknownPartition(message.text, this.#options.name)
    return link
  }

  /** Who answers where a peer was called. */
  #helloOf({ link }: Member, message: Hello): Link {
    checkHello(message, this.#options, this.links)
    if (message.text !== link.peer.name) throw otherPartition(message.text, link.peer.name)
    return link
  }

  /** Takes a connection for the peer's, unless another is better. */
  #adopt(link: Link, connection: XpcConnection, dialer: Dialer, identity: PeerIdentity): boolean {
    const member = this.#members.get(link.peer.name) as Member
    const rivals = {
      ownId: this.#options.partitionId,
      peerId: identity.partition,
      dialer,
      current: link.current,
      incarnation: identity.incarnation,
      dialing: member.dialing !== undefined,
    }
    const better = takesPlace(rivals)
    if (better && link.active) {
      // The old one is dead over there; the peer tries again when what hung on it is taken down here.
      void link.deactivate(new XpmemError('ECONNRESET', 'xpc', 'its service has connected anew'), true)
    }
    if (!better || link.state.name === 'deactivating') {
      const why = new XpmemError(
        'EEXIST',
        'xpc',
        'another connection between the two partitions is used, or just ending',
      )
      connection.refuse(why)
      this.#dialFailed(member, connection, why.reason)
      return false
    }
    if (dialer === 'there') sayHello(connection, this.#options)
    this.#activate(member, connection, dialer, identity)
    return true
  }

  #activate(member: Member, connection: XpcConnection, dialer: Dialer, { partition, incarnation }: PeerIdentity): void {
    if (member.dialing !== connection) stopDialing(member)
    member.dialing = undefined
    member.retryMs = firstRetryMs
    clearTimeout(member.retry)
    member.link.activate(connection, dialer, { partition, incarnation })
  }
}

function stopDialing(member: Member): void {
  const { dialing } = member
  member.dialing = undefined
  if (dialing instanceof XpcConnection) dialing.close()
  else dialing?.destroy()
}
