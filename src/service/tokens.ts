import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { XpmemError } from '../errors.js'

/** 128 bits, as two halves that fit the wire. */
export interface Token {
  readonly high: bigint
  readonly low: bigint
}

const keyBytes = 32

/**
 * Proofs that this partition's service, now or before a restart, gave an identifier to a process: a
 * MAC over what was given and to whom, which a client shows to a service that has forgotten.
 *
 * The MAC is SHA3-256 over the key and then the facts, cut to 128 bits: a sponge needs no HMAC around
 * it, since its output does not let the hash go on (Keccak team, "The sponge and duplex
 * constructions"; NIST SP 800-185, KMAC). One call, because every `get` makes one.
 */
export class Tokens {
  readonly #key: string

  constructor(key: Uint8Array) {
    this.#key = Buffer.from(key).toString('hex')
  }

  sign(kind: 'segment' | 'permit', facts: readonly (bigint | number)[]): Token {
    const mac = this.#mac(kind, facts)
    return { high: BigInt(`0x${mac.slice(0, 16)}`), low: BigInt(`0x${mac.slice(16)}`) }
  }

  verify(token: Token, kind: 'segment' | 'permit', facts: readonly (bigint | number)[]): boolean {
    const shown = token.high.toString(16).padStart(16, '0') + token.low.toString(16).padStart(16, '0')
    return timingSafeEqual(Buffer.from(shown, 'latin1'), Buffer.from(this.#mac(kind, facts), 'latin1'))
  }

  /** 32 hexadecimal digits. */
  #mac(kind: string, facts: readonly (bigint | number)[]): string {
    return hash('sha3-256', `${this.#key} ${kind} ${facts.join(' ')}`, 'hex').slice(0, 32)
  }
}

/** Reads the partition's key, making it (mode 0600) where there is none. Under the service's lock. */
export function loadKey(path: string): Uint8Array {
  try {
    writeFileSync(path, randomBytes(keyBytes), { mode: 0o600, flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const status = fstatSync(file)
    const key = readFileSync(file)
    if ((status.mode & 0o077) !== 0 || key.length !== keyBytes) {
      throw new XpmemError('EACCES', 'serve', `${path} is not a key that only this user can read: remove it`)
    }
    return key
  } finally {
    closeSync(file)
  }
}
