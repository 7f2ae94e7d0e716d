import { XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import type { RowOf } from '../wire/schema-codec.js'
import { noFile, type XpcSchema } from '../wire/xpc-schema.js'

/** An answer that breaks the protocol. */
export class BadAnswer extends XpmemError {
  constructor(what: string) {
    super('EPROTO', 'get', what)
  }
}

export type Place = RowOf<XpcSchema, 'place'>

/** Bytes of a file at the most: more than any memory, and pages of it can be counted in 32 bits. */
const maxFileBytes = 2 ** 43

/** Places as they must be: of whole pages, inside of their files, and in order from the start of what was asked for. */
export function checkPlaces(places: readonly Place[], { offset, length }: { offset: number; length: number }): Place[] {
  const { pageSize } = kernel
  let reached = offset
  for (const place of places) {
    const { fileOffset, fileLength, file } = place
    if ([place.offset, place.length, fileOffset, fileLength].some((number) => number % pageSize !== 0)) {
      throw new BadAnswer('a place is not made of whole pages')
    }
    if (place.offset !== reached || place.length === 0) throw new BadAnswer('places do not follow each other')
    reached += place.length
    if (file === noFile) continue
    if (fileLength > maxFileBytes || fileOffset + place.length > fileLength)
      throw new BadAnswer('a place lies outside of its file')
  }
  if (reached === offset || reached > offset + length) throw new BadAnswer('the places are not of what was asked for')
  return [...places]
}
