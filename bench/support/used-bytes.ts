import { setImmediate as turn } from 'node:timers/promises'

/**
 * What this process holds of memory that V8 knows, without garbage; it runs with --expose-gc. Resident
 * memory says less: a heap takes and gives back more for its garbage than there is to be measured.
 */
export async function usedBytes(): Promise<number> {
  const { gc } = globalThis as unknown as { gc(): void }
  // Buffers that the first one finds unused are counted until they are freed, beside it.
  gc()
  await turn()
  gc()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
