import { XpmemError } from '../errors.js'
import { type PlacedField, placeMessage, placeRow } from './layout.js'
import {
  type Fields,
  type FieldType,
  headerBytes,
  type MessageName,
  maxMessageBytes,
  messages,
  type RowName,
  rows,
  type TailType,
} from './schema.js'

type FieldValue<T extends FieldType> = T extends 'u64' ? bigint : number
type Values<F extends Fields> = { -readonly [K in keyof F]: FieldValue<F[K]> }

export type Row<R extends RowName> = Values<(typeof rows)[R]>

type Tail<T extends TailType> = T extends 'text' ? { text: string } : T extends RowName ? { rows: Row<T>[] } : unknown

export type MessageFields<N extends MessageName> = Values<(typeof messages)[N]['fields']> &
  Tail<(typeof messages)[N]['tail']>

/** A message as received: its name, its request number and its fields. */
export type Message<N extends MessageName = MessageName> = {
  [K in N]: { readonly name: K; readonly request: number } & Readonly<MessageFields<K>>
}[N]

/** A number field that is left out is 0, a text empty, rows none. */
export type MessageInput<N extends MessageName> = Partial<MessageFields<N>>

const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

interface Codec {
  readonly name: MessageName
  readonly code: number
  readonly fields: readonly PlacedField[]
  readonly bytes: number
  readonly tail: TailType
}

const codecs: Codec[] = Object.entries(messages).map(([name, layout]) => ({
  name: name as MessageName,
  code: layout.code,
  tail: layout.tail,
  ...placeMessage(name, layout.fields),
}))
const codecByCode = new Map(codecs.map((codec) => [codec.code, codec]))
const codecByName = new Map<string, Codec>(codecs.map((codec) => [codec.name, codec]))
const rowLayouts = new Map(Object.entries(rows).map(([name, fields]) => [name, placeRow(name, fields)]))

const textEncoder = new TextEncoder()
const textDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

type Bag = Record<string, number | bigint>

function writeFields(view: DataView, start: number, fields: readonly PlacedField[], values: Bag): void {
  for (const field of fields) {
    const value = values[field.name] ?? 0
    const at = start + field.offset
    if (field.type === 'u32') view.setUint32(at, value as number, littleEndian)
    else if (field.type === 'u64') view.setBigUint64(at, BigInt(value), littleEndian)
    else writeSize(view, at, value as number)
  }
}

function readFields(view: DataView, start: number, fields: readonly PlacedField[], into: Bag): void {
  for (const field of fields) {
    const at = start + field.offset
    if (field.type === 'u32') into[field.name] = view.getUint32(at, littleEndian)
    else if (field.type === 'u64') into[field.name] = view.getBigUint64(at, littleEndian)
    else into[field.name] = readSize(view, at, field.name)
  }
}

const high = littleEndian ? 4 : 0
const low = littleEndian ? 0 : 4

function writeSize(view: DataView, at: number, value: number): void {
  view.setUint32(at + low, value >>> 0, littleEndian)
  view.setUint32(at + high, Math.floor(value / 2 ** 32), littleEndian)
}

function readSize(view: DataView, at: number, name: string): number {
  const value = view.getUint32(at + high, littleEndian) * 2 ** 32 + view.getUint32(at + low, littleEndian)
  if (value > Number.MAX_SAFE_INTEGER) throw malformed(`${name} is larger than any memory`)
  return value
}

function malformed(what: string): XpmemError {
  return new XpmemError('EPROTO', 'message', what)
}

/** Writes a message into `buffer` and returns its length in bytes. EINVAL if it is longer than a datagram may be. */
export function encode<N extends MessageName>(
  buffer: Uint8Array,
  name: N,
  request: number,
  input: MessageInput<N>,
): number {
  const codec = codecByName.get(name) as Codec
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength)
  view.setUint16(0, codec.code, littleEndian)
  view.setUint16(2, 0, littleEndian)
  view.setUint32(4, request, littleEndian)
  writeFields(view, 0, codec.fields, input as Bag)
  if (codec.tail === 'none') return codec.bytes
  if (codec.tail === 'text') return encodeText(buffer, codec.bytes, (input as { text?: string }).text ?? '')
  return encodeRows(view, codec.bytes, codec.tail, (input as { rows?: Bag[] }).rows ?? [])
}

function encodeText(buffer: Uint8Array, start: number, text: string): number {
  if (text === '') return start
  const { read, written } = textEncoder.encodeInto(text, buffer.subarray(start, maxMessageBytes))
  if (read < text.length) throw new XpmemError('EINVAL', 'message', 'the text does not fit one message')
  return start + written
}

function encodeRows(view: DataView, start: number, tail: RowName, list: Bag[]): number {
  const { fields, bytes } = rowLayouts.get(tail) as { fields: PlacedField[]; bytes: number }
  const end = start + list.length * bytes
  if (end > maxMessageBytes) throw new XpmemError('EINVAL', 'message', `${list.length} rows do not fit one message`)
  list.forEach((row, index) => {
    writeFields(view, start + index * bytes, fields, row)
  })
  return end
}

/** Reads one datagram. EPROTO, with what is wrong, for anything that is not exactly one message. */
export function decode(buffer: Uint8Array, length: number): Message {
  if (length < headerBytes) throw malformed(`a message of ${length} bytes has no header`)
  const view = new DataView(buffer.buffer, buffer.byteOffset, length)
  const code = view.getUint16(0, littleEndian)
  const codec = codecByCode.get(code)
  if (codec === undefined) throw malformed(`no message has the code ${code}`)
  if (view.getUint16(2, littleEndian) !== 0) throw malformed('the reserved bytes of the header are not zero')
  if (length < codec.bytes) throw malformed(`${codec.name} is cut off after ${length} bytes`)
  const message: Bag & { name: string } = { name: codec.name as never, request: view.getUint32(4, littleEndian) }
  readFields(view, 0, codec.fields, message)
  readTail(codec, view, buffer, length, message)
  return message as unknown as Message
}

function readTail(codec: Codec, view: DataView, buffer: Uint8Array, length: number, message: object): void {
  if (codec.tail === 'none') {
    if (length !== codec.bytes) throw malformed(`${codec.name} is ${length} bytes long instead of ${codec.bytes}`)
  } else if (codec.tail === 'text') {
    Object.assign(message, { text: decodeText(buffer.subarray(codec.bytes, length), codec.name) })
  } else {
    Object.assign(message, { rows: readRows(view, codec, codec.tail, length) })
  }
}

function decodeText(bytes: Uint8Array, name: string): string {
  if (bytes.length === 0) return ''
  try {
    return textDecoder.decode(bytes)
  } catch {
    throw malformed(`the text of ${name} is not UTF-8`)
  }
}

function readRows(view: DataView, codec: Codec, tail: RowName, length: number): Bag[] {
  const { fields, bytes } = rowLayouts.get(tail) as { fields: PlacedField[]; bytes: number }
  const room = length - codec.bytes
  if (room % bytes !== 0) throw malformed(`the rows of ${codec.name} are cut off`)
  return Array.from({ length: room / bytes }, (_, index) => {
    const row: Bag = {}
    readFields(view, codec.bytes + index * bytes, fields, row)
    return row
  })
}

/** The bytes of a message of its own, for tests and for what is sent once. */
export function encodeOwn<N extends MessageName>(name: N, request: number, input: MessageInput<N>): Uint8Array {
  const buffer = new Uint8Array(maxMessageBytes)
  return buffer.slice(0, encode(buffer, name, request, input))
}

/** Rows alone, as `grantExtents` of the kernel takes them. */
export function encodeRowsOwn<R extends RowName>(tail: R, list: readonly Row<R>[]): Uint8Array {
  const { bytes } = rowLayouts.get(tail) as { bytes: number }
  const buffer = new Uint8Array(list.length * bytes)
  encodeRows(new DataView(buffer.buffer), 0, tail, list as unknown as Bag[])
  return buffer
}
