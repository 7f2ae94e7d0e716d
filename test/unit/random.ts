/** Random values that are the same for the same seed, and whole messages made of them. */
import type { Message, MessageInput } from '../../src/wire/codec.js'
import { type Fields, type FieldType, headerBytes } from '../../src/wire/layout.js'
import { type MessageName, maxMessageBytes, messages, rows } from '../../src/wire/schema.js'
import type { MessageOf, NameOf, Schema } from '../../src/wire/schema-codec.js'

/** Mulberry32, a generator of 32 bits of state. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }

  /** 0 to `bound` - 1. */
  below(bound: number): number {
    return Math.floor((this.u32() / 2 ** 32) * bound)
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.u32() & 0xff)
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32())
  }
}

export const messageNames = Object.keys(messages) as MessageName[]

const characters = ['a', 'Z', '0', '/', '\0', '\n', 'ä', '€', '\ufeff', '🜁', '\u{10ffff}']

/** Small, large and edge values come equally often. */
function fieldValue(random: Random, type: FieldType): number | bigint {
  if (type === 'u32') return random.pick([0, 1, 0xffff_ffff, random.u32(), random.below(256)])
  if (type === 'u64') return random.pick([0n, 1n, (1n << 64n) - 1n, 1n << 63n, random.u64(), BigInt(random.below(256))])
  return random.pick([0, 1, 4096, Number.MAX_SAFE_INTEGER, random.u32() * 2 ** 21, 4096 * random.below(1 << 20)])
}

export function fieldValues(random: Random, fields: Fields): Record<string, number | bigint> {
  return Object.fromEntries(Object.entries(fields).map(([name, type]) => [name, fieldValue(random, type)]))
}

function tailValue(random: Random, schema: Schema, tail: string): object {
  if (tail === 'none') return {}
  const length = random.pick([0, 1, 2, random.below(40)])
  if (tail === 'text') return { text: Array.from({ length }, () => random.pick(characters)).join('') }
  if (tail === 'bytes') return { bytes: random.bytes(length) }
  return { rows: Array.from({ length }, () => fieldValues(random, schema.rows[tail] as Fields)) }
}

/** A message with values of every kind, and nothing left out. */
export function randomMessageOf<S extends Schema>(random: Random, schema: S, name: NameOf<S>): MessageOf<S> {
  const { fields, tail } = schema.messages[name] as Schema['messages'][string]
  const request = random.pick([0, 1, 0xffff_ffff, random.u32()])
  return {
    name,
    request,
    ...fieldValues(random, fields),
    ...tailValue(random, schema, tail),
  } as unknown as MessageOf<S>
}

/** Likewise, of those between a client or an agent and the service. */
export function randomMessage(random: Random, name: MessageName): Message {
  return randomMessageOf(random, { messages, rows }, name)
}

/** What `encode` takes of a message. */
export function inputOf(message: Message): MessageInput<MessageName> {
  const { name: _, request: __, ...input } = message
  return input
}

/** Bytes that may or may not be a message: a valid one with some damage, or noise. */
export function damaged(random: Random, valid: Uint8Array): Uint8Array {
  const copy = valid.slice()
  switch (random.below(6)) {
    case 0:
      return random.bytes(random.below(200))
    case 1:
      return copy.subarray(0, random.below(copy.length + 1))
    case 2: {
      const longer = new Uint8Array(Math.min(copy.length + 1 + random.below(64), maxMessageBytes))
      longer.set(random.bytes(longer.length))
      longer.set(copy)
      return longer
    }
    case 3:
      copy.set(random.bytes(Math.min(2, copy.length)), 0)
      return copy
    case 4:
      copy.set(random.bytes(headerBytes), random.below(Math.max(1, copy.length - headerBytes)))
      return copy
    default:
      for (let flips = 1 + random.below(8); flips > 0; flips -= 1) {
        const at = random.below(copy.length)
        copy[at] = (copy[at] as number) ^ (1 << random.below(8))
      }
      return copy
  }
}
