import type { FrameReader } from '../../src/xpc/frames.js'

/** Gives a reader bytes as a socket would, and calls `take` with each frame that is whole then, until it returns false. */
export function push(reader: FrameReader, chunk: Uint8Array, take: (frame: Uint8Array) => unknown): void {
  for (let done = 0; done < chunk.length; ) {
    const { bytes, at } = reader.room()
    const some = chunk.subarray(done, done + bytes.length - at)
    bytes.set(some, at)
    reader.came(some.length, (from, start, length) => take(from.subarray(start, start + length)) !== false)
    done += some.length
  }
}
