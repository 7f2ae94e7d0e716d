import { asXpmemError, XpmemError } from '../errors.js'
import { kernel, type Peer } from '../kernel/index.js'
import { Channel } from '../transport/channel.js'
import { closeAll } from '../transport/descriptor.js'
import type { Message } from '../wire/codec.js'
import { protocolVersion, role } from '../wire/schema.js'
import { AgentLink } from './agent-link.js'
import type { ThreadGroup } from './groups.js'
import type { Credentials } from './permission.js'
import type { SessionId } from './registry.js'
import type { Strangers } from './strangers.js'

/** How long a connection may take to say hello. */
const helloTimeoutMs = 10_000

/** Requests of one connection that may wait for other processes at the same time. */
const maxRequestsUnderWay = 64

/** A client's control connection after its hello. */
export interface Client {
  readonly session: SessionId
  readonly group: ThreadGroup
  readonly credentials: Credentials
  readonly channel: Channel
  /** Holdings of all agents at the first page of a listing, for the pages that follow. */
  listing: unknown
}

/** What the service does for its connections. */
export interface ConnectionHost {
  /** The peer's process. Throws EMFILE if it has too many connections. Takes the pidfd. */
  admit(peer: Peer): ThreadGroup
  welcome(channel: Channel, request: number): void
  /** The program that says hello, by its number. Ends the one before it in the same process. */
  identify(connection: Connection, image: bigint): void
  openSession(client: Client): void
  /** Answers a request, now or later. The descriptors are its to close. */
  handle(client: Client, message: Message, descriptors: number[]): Promise<void> | undefined
  /** A process's agent is there. */
  agentConnected(group: ThreadGroup): void
  held(group: ThreadGroup, message: Message & { name: 'held' }): void
  putBack(group: ThreadGroup, message: Message & { name: 'putBack' }): void
  readonly strangers: Strangers
  closed(connection: Connection): void
}

/** One accepted connection: nobody, then a client or an agent. */
export class Connection {
  readonly channel: Channel
  /** Until the hello, the program that the service knows in the peer's process, which may be another now. */
  group: ThreadGroup
  readonly session: SessionId
  readonly #host: ConnectionHost
  readonly #peer: Peer
  readonly #helloTimer: NodeJS.Timeout
  #client: Client | undefined
  #agent: AgentLink | undefined
  #underWay = 0
  #closed = false

  constructor(socket: number, session: SessionId, host: ConnectionHost) {
    this.#host = host
    this.session = session
    this.#peer = kernel.peer(socket)
    this.group = host.admit(this.#peer)
    this.channel = new Channel(socket, 'when-idle', {
      arrived: (descriptors) => host.strangers.arrived(descriptors, this.group),
      message: (message, descriptors, senderPid) => this.#take(message, descriptors, senderPid),
      end: () => this.close(),
    })
    host.strangers.connected(socket, this.group)
    this.readOrPause()
    this.#helloTimer = setTimeout(
      () => this.refuse(0, new XpmemError('ETIMEDOUT', 'hello', 'no hello came')),
      helloTimeoutMs,
    )
    this.#helloTimer.unref()
  }

  /** Makes it a connection of the program that the process runs now. */
  moveTo(group: ThreadGroup): void {
    this.group.connections -= 1
    group.connections += 1
    this.group = group
    this.readOrPause()
  }

  /** Whether it has said hello. */
  get greeted(): boolean {
    return this.#client !== undefined || this.#agent !== undefined
  }

  /** Reads if the peer may say more now. */
  readOrPause(): void {
    if (this.#underWay < maxRequestsUnderWay && !this.#host.strangers.isTooMuchOf(this.group)) this.channel.resume()
    else this.channel.pause()
  }

  /** Says why, and closes. */
  refuse(request: number, error: XpmemError): void {
    this.channel.send('failure', request, { errno: error.errno, text: error.reason })
    this.close()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#helloTimer)
    this.channel.close()
    if (this.#agent !== undefined) {
      this.#agent.close()
      if (this.group.agent === this.#agent) this.group.setAgent(undefined)
    }
    this.#host.closed(this)
  }

  #take(message: Message, descriptors: number[], senderPid: number): void {
    // A descriptor of the connection gives a process that inherited or was sent it nothing: what it
    // says is not the peer's word. It is not answered either, since the answer would reach the peer.
    if (senderPid !== this.#peer.pid) return closeAll(descriptors)
    try {
      if (this.#client !== undefined) this.#request(this.#client, message, descriptors)
      else if (this.#agent !== undefined) this.#fromAgent(this.#agent, message, descriptors)
      else {
        closeAll(descriptors)
        this.#hello(message)
      }
    } catch (error) {
      this.refuse(message.request, asXpmemError(error, message.name))
    }
  }

  #hello(message: Message): void {
    if (message.name !== 'hello') throw new XpmemError('EPROTO', message.name, 'the first message must be a hello')
    if (message.version !== protocolVersion) {
      throw new XpmemError(
        'EPROTO',
        'hello',
        `the client speaks version ${message.version} of the protocol, this service ${protocolVersion}: update the older one`,
      )
    }
    clearTimeout(this.#helloTimer)
    this.#host.identify(this, message.image)
    if (message.role === role.control) {
      const { uid, gid, groups } = this.#peer
      this.#client = {
        session: this.session,
        group: this.group,
        credentials: { uid, gid, groups },
        channel: this.channel,
        listing: undefined,
      }
      this.#host.openSession(this.#client)
    } else if (message.role === role.agent) {
      if (this.group.agent !== undefined) throw new XpmemError('EEXIST', 'hello', 'this process has an agent')
      this.group.setAgentThread(message.thread)
      this.channel.reading = 'always'
      this.#agent = new AgentLink(this.channel)
    } else {
      throw new XpmemError('EPROTO', 'hello', `no connection has the role ${message.role}`)
    }
    this.#host.welcome(this.channel, message.request)
    if (this.#agent === undefined) return
    this.group.setAgent(this.#agent)
    this.#host.agentConnected(this.group)
  }

  #fromAgent(agent: AgentLink, message: Message, descriptors: number[]): void {
    if (message.name !== 'held' && message.name !== 'putBack') return agent.answer(message, descriptors)
    closeAll(descriptors)
    if (message.name === 'held') this.#host.held(this.group, message)
    else this.#host.putBack(this.group, message)
  }

  #request(client: Client, message: Message, descriptors: number[]): void {
    const work = this.#host.handle(client, message, descriptors)
    if (work === undefined) return
    this.#underWay += 1
    if (this.#underWay === maxRequestsUnderWay) this.readOrPause()
    void work
      .catch((error) => this.refuse(message.request, asXpmemError(error, message.name)))
      .finally(() => {
        this.#underWay -= 1
        if (this.#underWay === maxRequestsUnderWay - 1) this.readOrPause()
      })
  }
}
