import type { Table } from 'apache-arrow'

export interface Mean {
  readonly key: string
  readonly flights: number
  readonly meanDelay: number
}

/** The mean delay of the flights with the same key. */
export function meansBy(table: Table, keyOf: (row: number) => string): Mean[] {
  const delays = table.getChild('delay')?.toArray() as Int16Array
  const sums = new Map<string, { flights: number; sum: number }>()
  for (let row = 0; row < delays.length; row += 1) {
    const key = keyOf(row)
    const entry = sums.get(key) ?? { flights: 0, sum: 0 }
    entry.flights += 1
    entry.sum += delays[row] ?? 0
    sums.set(key, entry)
  }
  return [...sums].map(([key, { flights, sum }]) => ({ key, flights, meanDelay: sum / flights }))
}

export function meansByHour(table: Table): Mean[] {
  const times = table.getChild('time')?.toArray() as Float32Array
  const means = meansBy(table, (row) => `${Math.floor(times[row] ?? 0)}`)
  return means.sort((a, b) => Number(a.key) - Number(b.key))
}
