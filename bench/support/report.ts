import { readFileSync, writeFileSync } from 'node:fs'
import { formatTable } from '../../src/cli/table.js'
import { describeMachine } from './machine.js'
import { isMet, type Row, tableCells, tableHeader } from './row.js'

const marker = '<!-- table -->'

export function printTable(rows: readonly Row[]): void {
  process.stdout.write(`\n${describeMachine()}\n\n${formatTable(tableHeader, rows.map(tableCells))}\n`)
}

export function writeJson(path: string, rows: readonly Row[]): void {
  const report = {
    machine: describeMachine(),
    measuredAt: new Date().toISOString(),
    rows: rows.map((row) => ({ ...row, ok: isMet(row) })),
  }
  writeFileSync(path, `${JSON.stringify(report, undefined, 2)}\n`)
}

function markdownTable(rows: readonly Row[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [
    line(tableHeader),
    line(['---', '---:', '---:', '---:', '---', '---']),
    ...rows.map(tableCells).map(line),
  ].join('\n')
}

/** Puts the table between the two markers of a Markdown file. */
export function fillMarkdown(path: string, rows: readonly Row[]): void {
  const parts = readFileSync(path, 'utf8').split(marker)
  if (parts.length !== 3) throw new Error(`${path} does not have the marker ${marker} just twice`)
  const day = new Date().toISOString().slice(0, 10)
  const filled = `\n\nMeasured on ${day}: ${describeMachine()}.\n\n${markdownTable(rows)}\n\n`
  writeFileSync(path, [parts[0], filled, parts[2]].join(marker))
}
