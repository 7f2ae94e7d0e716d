import { XpmemError } from '../errors.js'
import { headerBytes } from '../wire/layout.js'
import { frameHeaderBytes, maxFrameBytes } from '../wire/xpc-schema.js'

/**
 * Cuts a stream of bytes into frames. A frame that came whole in one chunk is handed out where it
 * lies; only one that is spread over several is put together here.
 */
export class FrameReader {
  /** The beginning of a frame whose end has not come: made for the first, as large as a frame can be. */
  #partial: Uint8Array | undefined
  #have = 0

  /**
   * Calls `take` with each whole frame, without its length; the bytes are valid during the call
   * only. EPROTO for a length that no message has. Stops early, dropping the rest, once `take`
   * returns false.
   */
  push(chunk: Uint8Array, take: (frame: Uint8Array) => boolean): void {
    let rest = chunk
    while (rest.length > 0) {
      const used = this.#have > 0 ? this.#complete(rest, take) : this.#whole(rest, take)
      if (used < 0) return
      rest = rest.subarray(used)
    }
  }

  /** Bytes used of a chunk that begins with a frame; -1 if no more is wanted. */
  #whole(chunk: Uint8Array, take: (frame: Uint8Array) => boolean): number {
    const end = chunk.length < frameHeaderBytes ? Number.POSITIVE_INFINITY : frameEnd(chunk)
    if (end > chunk.length) return this.#keep(chunk, chunk.length)
    return take(chunk.subarray(frameHeaderBytes, end)) ? end : -1
  }

  /** Likewise of one that goes on with the frame that was begun. */
  #complete(chunk: Uint8Array, take: (frame: Uint8Array) => boolean): number {
    const partial = this.#partial as Uint8Array
    if (this.#have < frameHeaderBytes) {
      return this.#keep(chunk, Math.min(chunk.length, frameHeaderBytes - this.#have))
    }
    const end = frameEnd(partial)
    const used = this.#keep(chunk, Math.min(chunk.length, end - this.#have))
    if (this.#have < end) return used
    this.#have = 0
    return take(partial.subarray(frameHeaderBytes, end)) ? used : -1
  }

  #keep(chunk: Uint8Array, count: number): number {
    this.#partial ??= new Uint8Array(frameHeaderBytes + maxFrameBytes)
    this.#partial.set(chunk.subarray(0, count), this.#have)
    this.#have += count
    return count
  }
}

/** Where the frame that the bytes begin with ends. */
function frameEnd(bytes: Uint8Array): number {
  const length = new DataView(bytes.buffer, bytes.byteOffset, frameHeaderBytes).getUint32(0, true)
  if (length < headerBytes || length > maxFrameBytes) {
    throw new XpmemError('EPROTO', 'message', `no message is ${length} bytes long`)
  }
  return frameHeaderBytes + length
}
