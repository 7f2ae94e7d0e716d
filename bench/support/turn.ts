/** Seconds to load the first word, which must be that, and to store the next one. */
export function turn(words: Int32Array, expected: number): number {
  const start = performance.now()
  const found = Atomics.load(words, 0)
  Atomics.store(words, 0, expected + 1)
  const seconds = (performance.now() - start) / 1_000
  if (found !== expected) throw new Error(`the other partition wrote ${expected}, and ${found} was found`)
  return seconds
}
