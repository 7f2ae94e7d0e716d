import { XpmemError } from '../errors.js'
import { headerBytes } from './layout.js'
import type { MessageOf } from './schema-codec.js'
import { type XpcSchema, xpcMessages } from './xpc-schema.js'

/** Messages about pages, which all have the same fields. */
export type PagesName =
  | 'read'
  | 'write'
  | 'data'
  | 'grant'
  | 'invalidate'
  | 'invalidated'
  | 'recall'
  | 'returned'
  | 'put'
  | 'dropped'

export type PagesMessage<N extends PagesName = PagesName> = MessageOf<XpcSchema, N>

/** Which pages of which file, of which cache, and how. */
export interface Pages {
  readonly file: number
  readonly cache: number
  readonly first: number
  readonly count: number
  readonly way: number
}

const { read, write, data, grant, invalidate, invalidated, recall, returned, put, dropped } = xpcMessages
const layouts = { read, write, data, grant, invalidate, invalidated, recall, returned, put, dropped }

/** Bytes of such a message before the content. */
export const pagesBytes = headerBytes + 6 * 4

/** By their codes. */
const names: (PagesName | undefined)[] = []
const haveContent: boolean[] = []
for (const [name, { code, tail }] of Object.entries(layouts)) {
  names[code] = name as PagesName
  haveContent[code] = tail === 'bytes'
}

const noBytes = new Uint8Array()

/**
 * Writes and reads these messages as the schema's codec does. They come by the thousand, and a loop
 * over the fields of any message costs several times as much as this.
 */
export function writePages(view: DataView, at: number, name: PagesName, pages: Pages): void {
  view.setUint32(at, layouts[name].code, true)
  view.setUint32(at + 4, 0, true)
  view.setUint32(at + 8, pages.file, true)
  view.setUint32(at + 12, pages.cache, true)
  view.setUint32(at + 16, pages.first, true)
  view.setUint32(at + 20, pages.count, true)
  view.setUint32(at + 24, pages.way, true)
  view.setUint32(at + 28, 0, true)
}

/**
 * Reads the message of `length` bytes from `at` on, if it is one of these; what `view` shows is `bytes`.
 * EPROTO if it is not as long as it must be.
 */
export function readPages(view: DataView, bytes: Uint8Array, at: number, length: number): PagesMessage | undefined {
  // With the reserved bytes, which are zero.
  const code = view.getUint32(at, true)
  const name = names[code]
  if (name === undefined) return undefined
  const hasContent = haveContent[code] === true
  if (length < pagesBytes || (length > pagesBytes && !hasContent)) {
    throw new XpmemError('EPROTO', 'message', `${name} is ${length} bytes long`)
  }
  const message = {
    name,
    request: view.getUint32(at + 4, true),
    file: view.getUint32(at + 8, true),
    cache: view.getUint32(at + 12, true),
    first: view.getUint32(at + 16, true),
    count: view.getUint32(at + 20, true),
    way: view.getUint32(at + 24, true),
    reserved: view.getUint32(at + 28, true),
    bytes: length > pagesBytes ? bytes.subarray(at + pagesBytes, at + length) : noBytes,
  }
  return message as unknown as PagesMessage
}
