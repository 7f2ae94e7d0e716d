/** The sum, of four partial ones: one alone would measure the latency of an addition. */
export function sum(numbers: Float64Array): number {
  let [a, b, c, d] = [0, 0, 0, 0]
  for (let index = 0; index < numbers.length; index += 4) {
    a += numbers[index] as number
    b += numbers[index + 1] as number
    c += numbers[index + 2] as number
    d += numbers[index + 3] as number
  }
  return a + b + c + d
}
