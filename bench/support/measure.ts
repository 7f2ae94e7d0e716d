/** One round of something; what it measured. */
export type Round<Measured = number> = () => Promise<Measured>

export interface Pairs {
  /** Medians. */
  readonly value: number
  readonly limit: number
  /** The median of the ratios of rounds that followed each other. */
  readonly ratio: number
}

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/** What pairs of rounds say together. */
export function pairsOf(values: readonly number[], limits: readonly number[]): Pairs {
  const ratios = values.map((value, index) => value / (limits[index] as number))
  return { value: median(values), limit: median(limits), ratio: median(ratios) }
}

/**
 * Rounds of several measurements in turn, after one of each that does not count; what each measured.
 * Every second turn goes backwards, so that none gains by its place.
 */
export async function interleave<Measured>(
  turns: number,
  measurements: readonly Round<Measured>[],
): Promise<Measured[][]> {
  const measured = measurements.map((): Measured[] => [])
  for (const warmUp of measurements) await warmUp()
  for (let turn = 0; turn < turns; turn += 1) {
    const order = [...measurements.keys()]
    if (turn % 2 === 1) order.reverse()
    for (const index of order) measured[index]?.push(await (measurements[index] as Round<Measured>)())
  }
  return measured
}

/** Rounds of the product and of its limit in turn. */
export async function alternate(rounds: number, product: Round, limit: Round): Promise<Pairs> {
  const [values = [], limits = []] = await interleave(rounds, [product, limit])
  return pairsOf(values, limits)
}

/** The median duration, in seconds, of `count` operations that follow each other. */
export async function medianOf(count: number, operation: () => Promise<void>): Promise<number> {
  const times = new Float64Array(count)
  for (let index = 0; index < count; index += 1) {
    const start = performance.now()
    await operation()
    times[index] = performance.now() - start
  }
  times.sort()
  return (times[count >> 1] as number) / 1_000
}

/** The slope of the line through the points that leaves the least squares. */
export function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (which: 0 | 1) => points.reduce((sum, point) => sum + point[which], 0) / points.length
  const [meanX, meanY] = [mean(0), mean(1)]
  const covariance = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0)
  return covariance / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0)
}
