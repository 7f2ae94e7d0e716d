import type { Socket } from 'node:net'
import { XpmemError } from '../errors.js'
import { maxPartitionId } from '../ids.js'
import { xpcVersion } from '../wire/xpc-schema.js'
import { XpcConnection, type XpcMessage } from './connection.js'
import type { Link } from './link.js'

export type Hello = XpcMessage & { name: 'hello' }

/** Who this partition is. */
export interface Self {
  readonly name: string
  readonly partitionId: number
  incarnation(): number
}

export interface Greeted {
  /** The peer that said hello. Throws for one that is not wanted here. */
  identify(hello: Hello): Link
  /** Whether the connection is the link's from now on; it was refused if not. */
  adopt(link: Link, connection: XpcConnection, hello: Hello): boolean
  /** The connection ended, or was refused for what it said or did not say, before it was a link's. */
  failed(connection: XpcConnection, why: XpmemError): void
  /** Nothing is left of the connection. */
  closed(connection: XpcConnection): void
}

/** How long a connection may take to be made, and to say hello. */
export const helloTimeoutMs = 3_000

/** Characters of a name, as a stranger says it, that are repeated. */
const maxNameTold = 64

/** A connection whose first message must be a hello; after it, what comes belongs to the link. */
export function greet(socket: Socket, greeted: Greeted): XpcConnection {
  let link: Link | undefined
  const connection = new XpcConnection(socket, {
    message: (message) => {
      if (link !== undefined) return link.take(message)
      if (message.name !== 'hello') throw new XpmemError('EPROTO', 'xpc', 'the first message must be a hello')
      const peer = greeted.identify(message)
      clearTimeout(timer)
      if (greeted.adopt(peer, connection, message)) link = peer
    },
    end: (why) => {
      clearTimeout(timer)
      if (link === undefined) greeted.failed(connection, why)
      else if (link.uses(connection)) void link.deactivate(why, false)
    },
    closed: () => greeted.closed(connection),
  })
  const timer = setTimeout(() => {
    const why = new XpmemError('ETIMEDOUT', 'xpc', 'no hello came')
    connection.refuse(why)
    greeted.failed(connection, why)
  }, helloTimeoutMs)
  timer.unref()
  return connection
}

export function sayHello(connection: XpcConnection, self: Self): void {
  const { name, partitionId } = self
  const incarnation = self.incarnation()
  connection.send('hello', 0, { version: xpcVersion, partition: partitionId, incarnation, text: name })
}

/** EPROTO for whom no partition can speak with, or not this one. */
export function checkHello({ version, partition, incarnation, text }: Hello, self: Self, links: readonly Link[]): void {
  const refuse = (why: string): never => {
    throw new XpmemError('EPROTO', 'xpc', why)
  }
  if (version !== xpcVersion) {
    refuse(`version ${version} of the protocol was said, version ${xpcVersion} is spoken here: update the older one`)
  }
  if (partition < 1 || partition > maxPartitionId || incarnation < 1) refuse('that is no partition')
  const { name, partitionId } = self
  if (partition === partitionId) {
    refuse(`partitions '${told(text)}' and '${name}' both have the number ${partition}: give one another --id`)
  }
  const twin = links.find((link) => link.active && link.identity?.partition === partition && link.peer.name !== text)
  if (twin !== undefined) refuse(`partition '${twin.peer.name}' has the number ${partition} already`)
}

/** Somebody came in who is not in the directory. */
export function unknownPartition(name: string, ownName: string): XpmemError {
  const why = `'${told(name)}' is not in the directory of partition '${ownName}': start that service with --peer ${told(name)}`
  return new XpmemError('EACCES', 'xpc', why)
}

/** Somebody else answered than was called. */
export function otherPartition(name: string, expected: string): XpmemError {
  return new XpmemError('EPROTO', 'xpc', `partition '${told(name)}' answers where '${expected}' was expected`)
}

function told(name: string): string {
  return name.slice(0, maxNameTold)
}
