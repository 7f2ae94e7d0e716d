import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { XpmemError } from '../../errors.js'

/** Names of the demo's two segments. */
export const flightsName = 'flights-200k'
export const originsName = 'flights-20k-by-origin'

const require = createRequire(import.meta.url)

function needed(specifier: string): string {
  try {
    return require.resolve(specifier)
  } catch (cause) {
    const missing = 'the demo needs two packages: npm install apache-arrow vega-datasets'
    throw new XpmemError('ENOENT', 'demo', missing, { cause })
  }
}

/** ENOENT, saying what to install, if the demo's packages are missing. */
export function requireData(): void {
  needed('apache-arrow')
  needed('vega-datasets')
}

/** The path of one of vega-datasets' files. The package exports its code only, which lies in its build folder. */
export function dataset(file: string): string {
  return join(dirname(needed('vega-datasets')), '../data', file)
}

/** The Arrow library; loaded when it is used, since xpmem itself does not need it. */
export async function loadArrow(): Promise<typeof import('apache-arrow')> {
  return import('apache-arrow')
}

/**
 * 20,000 flights with their origins as an Arrow stream. flights-200k.arrow, the larger file, has a
 * delay, a distance and a time, but no origin, so the means per origin come from this one.
 */
export async function flightsWithOrigin(): Promise<Uint8Array> {
  const arrow = await loadArrow()
  const flights = JSON.parse(readFileSync(dataset('flights-20k.json'), 'utf8')) as { delay: number; origin: string }[]
  const table = new arrow.Table({
    delay: arrow.vectorFromArray(
      flights.map(({ delay }) => delay),
      new arrow.Int16(),
    ),
    origin: arrow.vectorFromArray(
      flights.map(({ origin }) => origin),
      new arrow.Dictionary(new arrow.Utf8(), new arrow.Int32()),
    ),
  })
  return arrow.tableToIPC(table, 'stream')
}
