import Table from 'cli-table3'

const bare = Object.fromEntries(
  ['top', 'bottom', 'left', 'right', 'mid']
    .flatMap((side) => [
      side,
      `${side}-mid`,
      `${side}-left`,
      `${side}-right`,
      `mid-${side}`,
      `left-${side}`,
      `right-${side}`,
    ])
    .map((edge) => [edge, '']),
)

/** Columns without lines around them; a column of numbers is aligned to the right. */
export function formatTable(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const isNumber = (column: number) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number')
  const table = new Table({
    head: [...header],
    chars: { ...bare, middle: '  ' },
    colAligns: header.map((_, column) => (isNumber(column) ? 'right' : 'left')),
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 0 },
  })
  table.push(...rows.map((row) => [...row]))
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** Bytes as people read them: 1.5 KiB. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`
}

/** Text of others, without what a terminal would obey: control and format characters. */
export function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}]/gu, '?')
}
