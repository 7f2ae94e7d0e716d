import { asXpmemError, type ErrorCode, XpmemError } from '../errors.js'
import { isId } from '../ids.js'
import { type Credentials, modeAllows } from '../service/permission.js'
import type { Registry, Segment } from '../service/registry.js'
import { access } from '../wire/schema.js'
import { maxGroupsTold, xpcGetFlag } from '../wire/xpc-schema.js'
import type { XpcInput, XpcMessage, XpcName } from '../xpc/connection.js'
import type { Peer } from './peer.js'

export interface ExportsContext {
  readonly registry: Registry
  /** Peers whose word on who asks is taken. */
  readonly trusted: ReadonlySet<string>
  /** Resolves when segments of an earlier service have had time to come back. */
  recovered(): Promise<void>
}

/** Belongs to nobody, and to no group: what a process of a partition that is not trusted is taken for. */
const somebodyElse: Credentials = { uid: -1, gid: -1, groups: [] }

type Reply = { [N in XpcName]: { name: N; input: XpcInput<N> } }[XpcName]

function fail(code: ErrorCode, call: string, message: string): never {
  throw new XpmemError(code, call, message)
}

/** Characters of a failure's text at the most. */
const maxFailureText = 1_000

/** Requests that wait for segments to come back, at the most. */
const maxAwaiting = 1_024

/** What peers ask of segments that were made here. */
export class Exports {
  readonly #context: ExportsContext
  #awaiting = 0

  constructor(context: ExportsContext) {
    this.#context = context
  }

  /** Carries out a request, now or when segments have come back. Throws EPROTO for what breaks the protocol. */
  handle(peer: Peer, message: XpcMessage): void {
    switch (message.name) {
      case 'find':
        return this.#answer(peer, message, () => this.#find(message.text))
      case 'get':
        if (message.rows.length > maxGroupsTold)
          fail('EPROTO', 'get', 'the process is in more groups than there can be')
        return this.#answer(peer, message, () => this.#get(peer, message))
      case 'release':
        // A segment may have ended, and its permits with it, while this was on its way.
        if (this.#context.registry.hasPermit(message.apid)) this.#context.registry.release(peer.group, message.apid)
        return
      default:
        return fail('EPROTO', message.name, 'a partition does not send this')
    }
  }

  #answer(peer: Peer, message: XpcMessage, work: () => Reply): void {
    const send = (answer: Reply) => peer.link.send(answer.name, message.request, answer.input)
    const refuse = (thrown: unknown) => {
      const error = asXpmemError(thrown, message.name)
      send({ name: 'failure', input: { errno: error.errno, text: error.reason.slice(0, maxFailureText) } })
    }
    try {
      send(work())
    } catch (thrown) {
      if (asXpmemError(thrown, message.name).code !== 'ENOENT') return refuse(thrown)
      if (this.#awaiting === maxAwaiting) {
        return refuse(new XpmemError('EAGAIN', message.name, 'too many wait for segments to come back: try again'))
      }
      void this.#answerRecovered(peer, () => send(work()), refuse)
    }
  }

  /** While owners are still coming back after a restart, 'not there' is not said before they had the time. */
  async #answerRecovered(peer: Peer, answer: () => void, refuse: (thrown: unknown) => void): Promise<void> {
    this.#awaiting += 1
    await this.#context.recovered()
    this.#awaiting -= 1
    if (!peer.link.active) return
    try {
      answer()
    } catch (thrown) {
      refuse(thrown)
    }
  }

  #find(name: string): Reply {
    return { name: 'found', input: { segid: this.#local(name, 'get').segid } }
  }

  /** Segments that this partition has itself from elsewhere are not passed on: their home is asked for them. */
  #local(key: string | bigint, call: string): Segment {
    const segment = this.#context.registry.find(key, call)
    if (segment.origin === 'elsewhere') fail('ENOENT', call, 'the segment was made in another partition')
    return segment
  }

  #get(peer: Peer, message: XpcMessage & { name: 'get' }): Reply {
    const { registry, trusted } = this.#context
    if (message.access !== access.read && message.access !== access.readwrite) {
      fail('EINVAL', 'get', "the access is 'read' or 'readwrite'")
    }
    if (!isId(message.segid)) fail('EINVAL', 'get', 'a segid is positive')
    const segment = this.#local(message.segid, 'get')
    const isTrusted = trusted.has(peer.link.peer.name)
    const { uid, gid, rows } = message
    const who = isTrusted ? { uid, gid, groups: rows.map((row) => row.gid) } : somebodyElse
    const passes = isTrusted && (message.flags & xpcGetFlag.ipcOwner) !== 0
    if (!passes && !modeAllows(who, segment, message.access)) {
      const mode = segment.mode.toString(8).padStart(4, '0')
      const whom = isTrusted ? `uid ${uid}` : 'others, as which processes of a partition count that is not trusted'
      fail('EACCES', 'get', `the segment's mode ${mode} does not allow it to ${whom}`)
    }
    const permit = registry.grant(peer.session, segment.segid, message.access)
    const { segid, length, dataLength } = segment
    return { name: 'got', input: { apid: permit.apid, segid, length, dataLength, access: permit.access } }
  }
}
