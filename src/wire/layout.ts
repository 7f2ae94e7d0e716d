/** Bytes of a message's header: u16 code, u16 reserved (zero), u32 request number. */
export const headerBytes = 8

/**
 * Field types. `size` is a u64 whose value must be a safe integer, and is a `number` in TypeScript;
 * `u64` is a `bigint`.
 */
export type FieldType = 'u32' | 'u64' | 'size'

export type Fields = { readonly [name: string]: FieldType }

export interface MessageLayout {
  readonly code: number
  readonly fields: Fields
  /** 'none', UTF-8 'text', raw 'bytes', or the name of a structure that repeats. */
  readonly tail: string
}

export interface PlacedField {
  readonly name: string
  readonly type: FieldType
  /** Bytes from the start of the message, or of the row. */
  readonly offset: number
}

export interface Placed {
  readonly fields: readonly PlacedField[]
  /** Bytes up to the tail. */
  readonly bytes: number
}

const widths: Record<FieldType, number> = { u32: 4, u64: 8, size: 8 }

function place(name: string, fields: Fields, start: number): Placed {
  const placed: PlacedField[] = []
  let offset = start
  for (const [field, type] of Object.entries(fields)) {
    const width = widths[type]
    if (offset % width !== 0) throw new Error(`${name}.${field} is not aligned: put wide fields first`)
    placed.push({ name: field, type, offset })
    offset += width
  }
  return { fields: placed, bytes: offset }
}

export function placeMessage(name: string, fields: Fields): Placed {
  return place(name, fields, headerBytes)
}

/** Rows follow each other, so their length is a multiple of 8. */
export function placeRow(name: string, fields: Fields): Placed {
  const placed = place(name, fields, 0)
  if (placed.bytes % 8 !== 0) throw new Error(`a row of ${name} is not a multiple of 8 bytes`)
  return placed
}
