/** Every byte of the counters at first: the core leaves out pages of zeros, which would be no copy. */
export const firstByte = 1

const firstValue = 0x01010101

export function firstSum(bytes: number): number {
  return (bytes / Int32Array.BYTES_PER_ELEMENT) * firstValue
}

export function counterSum(counters: Int32Array): number {
  let sum = 0
  for (let index = 0; index < counters.length; index += 1) sum += counters[index] as number
  return sum
}
