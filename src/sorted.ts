/** How many items are before the first that does not fit, of a list in which those that fit come first. */
export function countFirst<T>(items: readonly T[], fits: (item: T) => boolean): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (fits(items[middle] as T)) low = middle + 1
    else high = middle
  }
  return low
}
