/** The lines that a test and the C actor exchange; see test/conformance/c-actor/actor.h. */

const encode = (text: string) =>
  text.replace(/[ %\n=]/g, (character) => `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`)

function token(value: unknown): string {
  if (typeof value === 'string') return encode(value)
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value.toString()
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  throw new TypeError(`a C actor is not told ${value}`)
}

/** An argument is a word, an array several, an object `key=value` for each of its properties. */
function tokens(value: unknown): string[] {
  if (value === undefined) return []
  if (Array.isArray(value)) return value.map(token)
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return [token(value)]
  return Object.entries(value).map(([key, property]) => `${key}=${token(property)}`)
}

export const requestLine = (id: number, name: string, args: readonly unknown[]) =>
  `${[id, name, ...args.flatMap(tokens)].join(' ')}\n`

const parsers: { readonly [kind: string]: (text: string) => unknown } = {
  n: Number,
  b: BigInt,
  f: (text) => text === 'true',
  s: decodeURIComponent,
  x: (text) => new Uint8Array(Buffer.from(text, 'hex')),
}

function parse(value: string): unknown {
  const parser = parsers[value.slice(0, 1)]
  if (parser === undefined || value[1] !== ':') throw new TypeError(`the C actor says ${value}`)
  return parser(value.slice(2))
}

/** What an answer's words say: nothing, one value, or a record of values. */
export function parseAnswer(words: readonly string[]): unknown {
  const [first] = words
  if (first === undefined) return undefined
  if (!/^\w+=/.test(first)) return parse(first)
  return Object.fromEntries(
    words.map((word) => {
      const at = word.indexOf('=')
      return [word.slice(0, at), parse(word.slice(at + 1))]
    }),
  )
}
