import { XpmemError } from '../errors.js'
import { headerBytes } from '../wire/layout.js'
import { frameHeaderBytes, maxFrameBytes } from '../wire/xpc-schema.js'

/** Where bytes may be put: from `at` to the end. */
export interface Room {
  readonly bytes: Uint8Array
  readonly at: number
}

/** Takes a frame, without its length, which lies from `at` on; false if no more is wanted. */
export type TakeFrame = (bytes: Uint8Array, at: number, length: number) => boolean

/** Memory that every connection begins with, and that one which brings much may come to, long frames apart. */
const leastBytes = 16 * 1024
const mostBytes = 512 * 1024

/** Cuts a stream of bytes into frames. They are handed out where they came in: nothing is copied but the beginning of one that reaches the end of the memory. */
export class FrameReader {
  #bytes: Uint8Array = new Uint8Array(leastBytes)
  /** What came and was not taken lies from `begin` to `end`. */
  #begin = 0
  #end = 0
  /** Where the frame at the beginning ends, if its length is known. */
  #frameEnd = 0
  #isFull = false

  /** Where what comes next is to be put. */
  room(): Room {
    const have = this.#end - this.#begin
    const needed = Math.max(this.#frameEnd - this.#begin, have + leastBytes / 2)
    const isLarger = this.#isFull && this.#bytes.length < mostBytes
    if (isLarger || needed > this.#bytes.length) this.#move(new Uint8Array(Math.max(2 * this.#bytes.length, needed)))
    else if (this.#begin + needed > this.#bytes.length) this.#move(this.#bytes)
    return { bytes: this.#bytes, at: this.#end }
  }

  /**
   * So many bytes were put there. Calls `take` with each frame that is whole; its bytes are valid
   * during the call only. EPROTO for a length that no message has. Once `take` returns false the rest
   * is dropped.
   */
  came(count: number, take: TakeFrame): void {
    this.#end += count
    this.#isFull = this.#end === this.#bytes.length
    while (this.#readLength() && this.#frameEnd <= this.#end) {
      const at = this.#begin + frameHeaderBytes
      this.#begin = this.#frameEnd
      if (!take(this.#bytes, at, this.#frameEnd - at)) this.#begin = this.#end
    }
    if (this.#begin === this.#end) this.#begin = this.#end = this.#frameEnd = 0
  }

  /** Whether the length of the frame at the beginning has come. */
  #readLength(): boolean {
    this.#frameEnd = 0
    if (this.#end - this.#begin < frameHeaderBytes) return false
    const [bytes, at] = [this.#bytes, this.#begin]
    const low = (bytes[at] as number) | ((bytes[at + 1] as number) << 8)
    const length = low + (bytes[at + 2] as number) * 2 ** 16 + (bytes[at + 3] as number) * 2 ** 24
    if (length < headerBytes || length > maxFrameBytes) {
      throw new XpmemError('EPROTO', 'message', `no message is ${length} bytes long`)
    }
    this.#frameEnd = at + frameHeaderBytes + length
    return true
  }

  /** What is there lies at the beginning of some memory from now on. */
  #move(to: Uint8Array): void {
    if (to === this.#bytes) to.copyWithin(0, this.#begin, this.#end)
    else to.set(this.#bytes.subarray(this.#begin, this.#end))
    this.#bytes = to
    this.#frameEnd -= Math.min(this.#frameEnd, this.#begin)
    this.#end -= this.#begin
    this.#begin = 0
  }
}
