/** The control area of the stress test, as test/conformance/c-actor/stress.h lays it out. */
import { pattern } from '../support/pattern.js'

export const attachers = 3
export const slotCount = 128
export const slotsAt = 4096
export const slotBytes = 64
export const controlBytes = slotsAt + slotCount * slotBytes
const wordsAt = 16
const smallestWithWords = 32
const live = 2 ** 30

/** A live buffer of the owner, which stays as long as it is pinned. */
export interface LiveBuffer {
  readonly address: bigint
  readonly length: number
  readonly seed: number
}

export class Control {
  readonly #words: Int32Array<ArrayBuffer>
  readonly #view: DataView

  constructor(buffer: ArrayBuffer) {
    this.#words = new Int32Array(buffer)
    this.#view = new DataView(buffer)
  }

  get stopped(): boolean {
    return Atomics.load(this.#words, 0) !== 0
  }

  stop(): void {
    Atomics.store(this.#words, 0, 1)
  }

  /** Pins a slot's buffer, if there is one, and says which it is. */
  pin(slot: number): LiveBuffer | undefined {
    const at = slotsAt + slot * slotBytes
    for (;;) {
      const state = Atomics.load(this.#words, at / 4)
      if ((state & live) === 0) return undefined
      if (Atomics.compareExchange(this.#words, at / 4, state, state + 1) === state) break
    }
    const address = this.#view.getBigUint64(at + 8, true)
    const length = Number(this.#view.getBigUint64(at + 16, true))
    return { address, length, seed: this.#view.getUint32(at + 4, true) }
  }

  unpin(slot: number): void {
    Atomics.sub(this.#words, (slotsAt + slot * slotBytes) / 4, 1)
  }

  /** Notes which word an attacher has written into the buffer. */
  note(slot: number, attacher: number, word: number): void {
    this.#view.setUint32(slotsAt + slot * slotBytes + 24 + 4 * attacher, word, true)
  }
}

const isWord = (at: number, length: number) =>
  length >= smallestWithWords && at >= wordsAt && at < wordsAt + 4 * attachers

/** What is wrong with the bytes of a buffer; nothing if they are as they should be. */
export function wrongIn(bytes: Uint8Array, { seed, length, address }: LiveBuffer): string | undefined {
  for (let at = 0; at < length; at += 1) {
    if (bytes[at] === pattern(at, seed) || isWord(at, length)) continue
    return `${bytes[at]} instead of ${pattern(at, seed)} at byte ${at} of ${length} at 0x${address.toString(16)}`
  }
  return undefined
}

/** Where an attacher writes its word; nothing in buffers that are too small. */
export const wordOffset = (attacher: number, length: number): number | undefined =>
  length >= smallestWithWords ? wordsAt + 4 * attacher : undefined
