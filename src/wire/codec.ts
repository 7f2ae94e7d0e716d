import { type MessageName, maxMessageBytes, messages, type RowName, rows } from './schema.js'
import { type InputOf, type MessageOf, type RowOf, SchemaCodec } from './schema-codec.js'

type Local = { readonly messages: typeof messages; readonly rows: typeof rows }

export type Row<R extends RowName> = RowOf<Local, R>

/** A message between a client or an agent and the service, as received. */
export type Message<N extends MessageName = MessageName> = MessageOf<Local, N>

/** A number field that is left out is 0, a text empty, rows none. */
export type MessageInput<N extends MessageName> = InputOf<Local, N>

const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

const codec = new SchemaCodec<Local>({ messages, rows }, { littleEndian, maxBytes: maxMessageBytes })

/** Writes a message into `buffer` and returns its length in bytes. EINVAL if it is longer than a datagram may be. */
export function encode<N extends MessageName>(
  buffer: Uint8Array,
  name: N,
  request: number,
  input: MessageInput<N>,
): number {
  return codec.encode(buffer, name, request, input)
}

/** Reads one datagram. EPROTO, with what is wrong, for anything that is not exactly one message. */
export function decode(buffer: Uint8Array, length: number): Message {
  return codec.decode(buffer, length)
}

/** The bytes of a message of its own, for tests and for what is sent once. */
export function encodeOwn<N extends MessageName>(name: N, request: number, input: MessageInput<N>): Uint8Array {
  return codec.encodeOwn(name, request, input)
}

/** Rows alone, as `grantExtents` of the kernel takes them. */
export function encodeRowsOwn<R extends RowName>(tail: R, list: readonly Row<R>[]): Uint8Array {
  return codec.encodeRowsOwn(tail, list)
}

/** Rows alone, as `paged` of the kernel gives them. */
export function decodeRows<R extends RowName>(tail: R, bytes: Uint8Array): Row<R>[] {
  return codec.decodeRows(tail, bytes)
}
