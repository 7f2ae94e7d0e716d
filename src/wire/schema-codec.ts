import { XpmemError } from '../errors.js'
import {
  type Fields,
  type FieldType,
  headerBytes,
  type MessageLayout,
  type PlacedField,
  placeMessage,
  placeRow,
} from './layout.js'

/** Everything that may be said over one kind of connection. */
export interface Schema {
  readonly messages: { readonly [name: string]: MessageLayout }
  readonly rows: { readonly [name: string]: Fields }
}

type FieldValue<T extends FieldType> = T extends 'u64' ? bigint : number
type Values<F extends Fields> = { -readonly [K in keyof F]: FieldValue<F[K]> }

export type NameOf<S extends Schema> = keyof S['messages'] & string
export type RowNameOf<S extends Schema> = keyof S['rows'] & string
export type RowOf<S extends Schema, R extends RowNameOf<S>> = Values<S['rows'][R]>

type TailOf<S extends Schema, T> = T extends 'text'
  ? { text: string }
  : T extends 'bytes'
    ? { bytes: Uint8Array }
    : T extends RowNameOf<S>
      ? { rows: RowOf<S, T>[] }
      : unknown

export type FieldsOf<S extends Schema, N extends NameOf<S>> = Values<S['messages'][N]['fields']> &
  TailOf<S, S['messages'][N]['tail']>

/** A message as received: its name, its request number and its fields. */
export type MessageOf<S extends Schema, N extends NameOf<S> = NameOf<S>> = {
  [K in N]: { readonly name: K; readonly request: number } & Readonly<FieldsOf<S, K>>
}[N]

/** A number field that is left out is 0, a text empty, rows none. */
export type InputOf<S extends Schema, N extends NameOf<S>> = Partial<FieldsOf<S, N>>

interface PlacedMessage {
  readonly name: string
  readonly code: number
  readonly fields: readonly PlacedField[]
  readonly bytes: number
  readonly tail: string
}

interface PlacedRow {
  readonly fields: readonly PlacedField[]
  readonly bytes: number
}

type Bag = Record<string, number | bigint>

const textEncoder = new TextEncoder()
const textDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function malformed(what: string): XpmemError {
  return new XpmemError('EPROTO', 'message', what)
}

export interface SchemaCodecOptions {
  readonly littleEndian: boolean
  /** Bytes of a message at the most, header included. */
  readonly maxBytes: number
}

/** A view of the memory that was last asked for: mostly it is the same again. */
class LastView {
  #bytes: Uint8Array | undefined
  #view: DataView = new DataView(new ArrayBuffer(0))

  of(bytes: Uint8Array): DataView {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    }
    return this.#view
  }
}

/** Writes and reads the messages of a schema. */
export class SchemaCodec<S extends Schema> {
  readonly #littleEndian: boolean
  readonly #maxBytes: number
  readonly #byCode = new Map<number, PlacedMessage>()
  readonly #byName = new Map<string, PlacedMessage>()
  readonly #rows = new Map<string, PlacedRow>()
  readonly #written = new LastView()
  readonly #read = new LastView()

  constructor(schema: S, options: SchemaCodecOptions) {
    this.#littleEndian = options.littleEndian
    this.#maxBytes = options.maxBytes
    for (const [name, { code, fields, tail }] of Object.entries(schema.messages)) {
      if (!['none', 'text', 'bytes'].includes(tail) && schema.rows[tail] === undefined) {
        throw new Error(`${name} ends with '${tail}', which is no row`)
      }
      const placed = { name, code, tail, ...placeMessage(name, fields) }
      this.#byCode.set(code, placed)
      this.#byName.set(name, placed)
    }
    for (const [name, fields] of Object.entries(schema.rows)) this.#rows.set(name, placeRow(name, fields))
  }

  /**
   * Writes a message into `buffer`, from `at` on, and returns its length in bytes. EINVAL if it is
   * longer than a message may be.
   */
  encode<N extends NameOf<S>>(buffer: Uint8Array, name: N, request: number, input: InputOf<S, N>, at = 0): number {
    const placed = this.#byName.get(name) as PlacedMessage
    const view = this.#written.of(buffer)
    view.setUint16(at, placed.code, this.#littleEndian)
    view.setUint16(at + 2, 0, this.#littleEndian)
    view.setUint32(at + 4, request, this.#littleEndian)
    this.#writeFields(view, at, placed.fields, input as Bag)
    return placed.tail === 'none' ? placed.bytes : this.#encodeTail(view, placed, input, at)
  }

  #encodeTail(view: DataView, { tail, bytes }: PlacedMessage, input: object, at: number): number {
    if (tail !== 'text' && tail !== 'bytes') {
      return this.#encodeRows(view, at, bytes, tail, (input as { rows?: Bag[] }).rows ?? [])
    }
    const own = new Uint8Array(view.buffer, view.byteOffset + at, view.byteLength - at)
    if (tail === 'text') return this.#encodeText(own, bytes, (input as { text?: string }).text ?? '')
    return this.#encodeBytes(own, bytes, (input as { bytes?: Uint8Array }).bytes)
  }

  /** The bytes of a message of its own, for tests and for what is sent once. */
  encodeOwn<N extends NameOf<S>>(name: N, request: number, input: InputOf<S, N>): Uint8Array {
    const buffer = new Uint8Array(this.#maxBytes)
    return buffer.slice(0, this.encode(buffer, name, request, input))
  }

  /** Rows alone. */
  encodeRowsOwn<R extends RowNameOf<S>>(tail: R, list: readonly RowOf<S, R>[]): Uint8Array {
    const { bytes } = this.#rows.get(tail) as PlacedRow
    const buffer = new Uint8Array(list.length * bytes)
    this.#encodeRows(new DataView(buffer.buffer), 0, 0, tail, list as unknown as Bag[])
    return buffer
  }

  /** Reads rows alone. EPROTO if the last is cut off. */
  decodeRows<R extends RowNameOf<S>>(tail: R, bytes: Uint8Array): RowOf<S, R>[] {
    return this.#readRows(bytes, tail, `rows of ${tail}`) as unknown as RowOf<S, R>[]
  }

  /**
   * Reads one message, of `length` bytes from `at` on. EPROTO, with what is wrong, for anything that is
   * not exactly one.
   */
  decode(buffer: Uint8Array, length: number, at = 0): MessageOf<S> {
    if (length < headerBytes) throw malformed(`a message of ${length} bytes has no header`)
    const view = this.#read.of(buffer)
    const code = view.getUint16(at, this.#littleEndian)
    const placed = this.#byCode.get(code)
    if (placed === undefined) throw malformed(`no message has the code ${code}`)
    if (view.getUint16(at + 2, this.#littleEndian) !== 0)
      throw malformed('the reserved bytes of the header are not zero')
    if (length < placed.bytes) throw malformed(`${placed.name} is cut off after ${length} bytes`)
    const message: Bag & { name: string } = {
      name: placed.name as never,
      request: view.getUint32(at + 4, this.#littleEndian),
    }
    this.#readFields(view, at, placed.fields, message)
    if (placed.tail !== 'none') this.#readTail(placed, buffer.subarray(at + placed.bytes, at + length), message)
    else if (length > placed.bytes) throw malformed(`${placed.name} is ${length} bytes long instead of ${placed.bytes}`)
    return message as unknown as MessageOf<S>
  }

  #writeFields(view: DataView, start: number, fields: readonly PlacedField[], values: Bag): void {
    for (const field of fields) {
      const value = values[field.name] ?? 0
      const at = start + field.offset
      if (field.type === 'u32') view.setUint32(at, value as number, this.#littleEndian)
      else if (field.type === 'u64') view.setBigUint64(at, BigInt(value), this.#littleEndian)
      else this.#writeSize(view, at, value as number)
    }
  }

  #readFields(view: DataView, start: number, fields: readonly PlacedField[], into: Bag): void {
    for (const field of fields) {
      const at = start + field.offset
      if (field.type === 'u32') into[field.name] = view.getUint32(at, this.#littleEndian)
      else if (field.type === 'u64') into[field.name] = view.getBigUint64(at, this.#littleEndian)
      else into[field.name] = this.#readSize(view, at, field.name)
    }
  }

  #writeSize(view: DataView, at: number, value: number): void {
    const [low, high] = this.#littleEndian ? [0, 4] : [4, 0]
    view.setUint32(at + low, value >>> 0, this.#littleEndian)
    view.setUint32(at + high, Math.floor(value / 2 ** 32), this.#littleEndian)
  }

  #readSize(view: DataView, at: number, name: string): number {
    const [low, high] = this.#littleEndian ? [0, 4] : [4, 0]
    const value = view.getUint32(at + high, this.#littleEndian) * 2 ** 32 + view.getUint32(at + low, this.#littleEndian)
    if (value > Number.MAX_SAFE_INTEGER) throw malformed(`${name} is larger than any memory`)
    return value
  }

  #encodeText(buffer: Uint8Array, start: number, text: string): number {
    if (text === '') return start
    const { read, written } = textEncoder.encodeInto(text, buffer.subarray(start, this.#maxBytes))
    if (read < text.length) throw new XpmemError('EINVAL', 'message', 'the text does not fit one message')
    return start + written
  }

  #encodeBytes(buffer: Uint8Array, start: number, bytes: Uint8Array | undefined): number {
    const end = start + (bytes?.length ?? 0)
    if (end > this.#maxBytes) throw new XpmemError('EINVAL', 'message', 'the bytes do not fit one message')
    if (bytes !== undefined) buffer.set(bytes, start)
    return end
  }

  /** Of a message that begins at `at`, from its byte `start` on. */
  #encodeRows(view: DataView, at: number, start: number, tail: string, list: Bag[]): number {
    const { fields, bytes } = this.#rows.get(tail) as PlacedRow
    const end = start + list.length * bytes
    if (end > this.#maxBytes) throw new XpmemError('EINVAL', 'message', `${list.length} rows do not fit one message`)
    list.forEach((row, index) => {
      this.#writeFields(view, at + start + index * bytes, fields, row)
    })
    return end
  }

  #readTail({ tail, name }: PlacedMessage, bytes: Uint8Array, message: object): void {
    if (tail === 'text') Object.assign(message, { text: decodeText(bytes, name) })
    else if (tail === 'bytes') Object.assign(message, { bytes })
    else Object.assign(message, { rows: this.#readRows(bytes, tail, `the rows of ${name}`) })
  }

  #readRows(list: Uint8Array, tail: string, what: string): Bag[] {
    const { fields, bytes } = this.#rows.get(tail) as PlacedRow
    if (list.length % bytes !== 0) throw malformed(`${what} are cut off`)
    const view = new DataView(list.buffer, list.byteOffset, list.byteLength)
    return Array.from({ length: list.length / bytes }, (_, index) => {
      const row: Bag = {}
      this.#readFields(view, index * bytes, fields, row)
      return row
    })
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
