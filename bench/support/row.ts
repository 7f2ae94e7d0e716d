import { formatBytes } from '../../src/cli/table.js'

export type Unit = 'seconds' | 'bytes/s' | 'bytes'

export interface Target {
  readonly of: 'ratio' | 'value'
  readonly least?: number
  readonly most?: number
}

/** One line of the report. */
export interface Row {
  readonly name: string
  readonly unit: Unit
  readonly value: number
  /** What the value is measured against; undefined where the target is a number of its own. */
  readonly limit?: number
  readonly ratio?: number
  /** Undefined: measured to explain another row. */
  readonly target?: Target
}

const microsecond = 1e-6
const millisecond = 1e-3
const megabyte = 1e6
const gigabyte = 1e9

export function formatQuantity(value: number, unit: Unit): string {
  if (unit === 'bytes/s')
    return value < gigabyte / 10 ? `${(value / megabyte).toFixed(1)} MB/s` : `${(value / gigabyte).toFixed(2)} GB/s`
  if (unit === 'bytes') return `${value < 0 ? '-' : ''}${formatBytes(Math.round(Math.abs(value)))}`
  if (value < millisecond) return `${(value / microsecond).toFixed(1)} µs`
  return value < 1 ? `${(value / millisecond).toFixed(1)} ms` : `${value.toFixed(2)} s`
}

export function isMet({ target, value, ratio }: Row): boolean {
  if (target === undefined) return true
  const measured = target.of === 'ratio' ? ratio : value
  if (measured === undefined || Number.isNaN(measured)) return false
  return measured >= (target.least ?? Number.NEGATIVE_INFINITY) && measured <= (target.most ?? Number.POSITIVE_INFINITY)
}

function formatTarget({ target, unit }: Row): string {
  if (target === undefined) return ''
  const bound = target.least ?? target.most ?? 0
  const sign = target.least === undefined ? '≤' : '≥'
  return `${sign} ${target.of === 'ratio' ? bound : formatQuantity(bound, unit)}`
}

export const tableHeader = ['case', 'value', 'limit', 'ratio', 'target', ''] as const

/** The row as the columns of `tableHeader`. */
export function tableCells(row: Row): string[] {
  const state = row.target === undefined ? '' : isMet(row) ? 'ok' : 'MISSED'
  return [
    row.name,
    formatQuantity(row.value, row.unit),
    row.limit === undefined ? '' : formatQuantity(row.limit, row.unit),
    row.ratio === undefined ? '' : row.ratio.toFixed(2),
    formatTarget(row),
    state,
  ]
}
