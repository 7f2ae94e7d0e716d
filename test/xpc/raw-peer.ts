/** A peer that speaks the protocol between services by hand, and what a test needs around it. */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { frameHeaderBytes, xpcCodec, xpcVersion } from '../../src/wire/xpc-schema.js'
import type { XpcInput, XpcMessage, XpcName } from '../../src/xpc/connection.js'
import type { Address } from '../../src/xpc/directory.js'
import { FrameReader } from '../../src/xpc/frames.js'
import { until } from '../support/until.js'
import { push } from './pushed.js'

let hosts = 0

/** An address of this machine that no other test uses. */
export function ownAddress(): Address {
  hosts += 1
  const [high, low] = [(process.pid >> 8) & 0xff, process.pid & 0xff]
  return { host: `127.${high}.${low}.${hosts}`, port: 7_000 }
}

/** The bytes of a message on the wire. */
export function frameOf<N extends XpcName>(name: N, request: number, input: XpcInput<N>): Uint8Array {
  return framed(xpcCodec.encodeOwn(name, request, input))
}

export function framed(body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(frameHeaderBytes + body.length)
  new DataView(bytes.buffer).setUint32(0, body.length, true)
  bytes.set(body, frameHeaderBytes)
  return bytes
}

export class RawPeer {
  readonly socket: Socket
  readonly received: XpcMessage[] = []
  /** The service closed the connection. */
  ended = false
  /** What to do at each ping; who keeps silent about them is taken for gone. */
  onPing = (request: number): void => this.send('pong', request, {})
  readonly #reader = new FrameReader()

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('error', () => {})
    socket.on('close', () => {
      this.ended = true
    })
    socket.on('data', (chunk: Uint8Array) => {
      push(this.#reader, chunk, (frame) => this.#take(xpcCodec.decode(frame, frame.length)))
    })
  }

  #take(message: XpcMessage): void {
    if (message.name === 'ping') this.onPing(message.request)
    else this.received.push(message)
  }

  send<N extends XpcName>(name: N, request: number, input: XpcInput<N>): void {
    this.socket.write(frameOf(name, request, input))
  }

  /** Waits for a message of the name and takes it. */
  async take<N extends XpcName>(name: N): Promise<XpcMessage<N>> {
    const found = () => this.received.findIndex((message) => message.name === name)
    await until(() => found() >= 0 || this.ended)
    const at = found()
    if (at < 0) throw new Error(`the connection ended before a ${name} came, after ${JSON.stringify(this.words)}`)
    return this.received.splice(at, 1)[0] as XpcMessage<N>
  }

  get words(): string[] {
    return this.received.map(({ name }) => name)
  }

  /** The last word, once the connection is closed; '' if there was none. */
  async refusal(): Promise<string> {
    await until(() => this.ended)
    const last = this.received.find((message) => message.name === 'refuse')
    return last?.name === 'refuse' ? last.text : ''
  }

  sayHello(name: string, partition: number, { incarnation = 1, version = xpcVersion } = {}): void {
    this.send('hello', 0, { version, partition, incarnation, text: name })
  }

  /** Says hello and waits for the answer. */
  async hello(name: string, partition: number, incarnation = 1): Promise<void> {
    this.sayHello(name, partition, { incarnation })
    await this.take('hello')
  }

  close(): void {
    this.socket.destroy()
  }
}

/** Connects; the connection is closed with the test. */
export async function rawPeer(t: TestContext, address: Address): Promise<RawPeer> {
  const peer = new RawPeer(connect(address))
  t.after(() => peer.close())
  await Promise.race([once(peer.socket, 'connect'), once(peer.socket, 'close')])
  return peer
}

/** Comes in as a peer that is in the directory, trying again while a connection before it is just ending. */
export async function joined(t: TestContext, address: Address, name: string, id: number): Promise<RawPeer> {
  for (let incarnation = 1; ; incarnation += 1) {
    const peer = await rawPeer(t, address)
    peer.sayHello(name, id, { incarnation })
    await until(() => peer.ended || peer.received.length > 0)
    if (peer.received[0]?.name === 'hello') {
      await peer.take('hello')
      return peer
    }
    peer.close()
  }
}

/** Something that listens, and what connected to it; ended with the test. */
export async function listener(t: TestContext, address: Address): Promise<{ server: Server; sockets: Socket[] }> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    socket.on('error', () => {})
    sockets.push(socket)
  })
  server.listen(address.port, address.host)
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { server, sockets }
}
