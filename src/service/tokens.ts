import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { XpmemError } from '../errors.js'

/** 128 bits, as two halves that fit the wire. */
export interface Token {
  readonly high: bigint
  readonly low: bigint
}

const keyBytes = 32

/**
 * Proofs that this partition's service, now or before a restart, gave an identifier to a process:
 * HMAC-SHA256 over what was given and to whom, cut to 128 bits (RFC 2104, section 5). A client shows
 * them to a service that has forgotten.
 */
export class Tokens {
  readonly #key: Uint8Array

  constructor(key: Uint8Array) {
    this.#key = key
  }

  sign(kind: 'segment' | 'permit', facts: readonly (bigint | number)[]): Token {
    const mac = this.#mac(kind, facts)
    return { high: mac.readBigUInt64LE(0), low: mac.readBigUInt64LE(8) }
  }

  verify(token: Token, kind: 'segment' | 'permit', facts: readonly (bigint | number)[]): boolean {
    const shown = Buffer.alloc(16)
    shown.writeBigUInt64LE(token.high, 0)
    shown.writeBigUInt64LE(token.low, 8)
    return timingSafeEqual(shown, this.#mac(kind, facts))
  }

  #mac(kind: string, facts: readonly (bigint | number)[]): Buffer {
    return createHmac('sha256', this.#key)
      .update(`${kind} ${facts.join(' ')}`)
      .digest()
      .subarray(0, 16)
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
