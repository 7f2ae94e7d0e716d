/** `npm run bench`: each case against its physical limit, then one table. See docs/performance.md. */
import { Command } from 'commander'
import { attach } from './suites/attach.js'
import { attachSize } from './suites/attach-size.js'
import { bandwidth } from './suites/bandwidth.js'
import { far } from './suites/far.js'
import { firstTouch } from './suites/first-touch.js'
import { libxpmem } from './suites/libxpmem.js'
import { live } from './suites/live.js'
import { permit } from './suites/permit.js'
import { serviceMemory } from './suites/service-memory.js'
import { buildLimits } from './support/limit.js'
import { fillMarkdown, printTable, writeJson } from './support/report.js'
import type { Row } from './support/row.js'
import { Scope } from './support/scope.js'
import type { Suite } from './support/suite.js'

interface Options {
  readonly json?: string
  readonly markdown?: string
  readonly only?: string[]
}

const suites = [bandwidth, firstTouch, attach, permit, live, attachSize, libxpmem, serviceMemory, far]

/** What is to be ended if a signal comes. */
let current = new Scope()
let stopping = false

async function runSuite(suite: Suite): Promise<Row[] | undefined> {
  process.stdout.write(`${suite.name}: ${suite.about} …`)
  const start = performance.now()
  current = new Scope()
  try {
    const rows = await suite.run(current)
    process.stdout.write(` ${((performance.now() - start) / 1_000).toFixed(1)} s\n`)
    return rows
  } catch (error) {
    if (stopping) return undefined
    process.stdout.write(' FAILED\n')
    process.stderr.write(`${suite.name}: ${(error as Error).stack}\n`)
    process.exitCode = 1
    return undefined
  } finally {
    await current.close()
  }
}

function chosenSuites(only: readonly string[] | undefined): Suite[] {
  if (only === undefined) return suites
  const unknown = only.filter((name) => !suites.some((suite) => suite.name === name))
  if (unknown.length > 0) {
    program.error(`there is no case ${unknown.join(', ')}; there are ${suites.map(({ name }) => name).join(', ')}`)
  }
  return suites.filter(({ name }) => only.includes(name))
}

async function run({ json, markdown, only }: Options): Promise<void> {
  const chosen = chosenSuites(only)
  buildLimits()
  const rows: Row[] = []
  for (const suite of chosen) rows.push(...((await runSuite(suite)) ?? []))
  printTable(rows)
  if (json !== undefined) writeJson(json, rows)
  if (markdown !== undefined) fillMarkdown(markdown, rows)
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.once(signal, () => {
    stopping = true
    current.close().finally(() => process.exit(code))
  })
}

const program = new Command('bench')
  .description('measures xpmem against the physical limit; a missed target is reported, not a failure')
  .option('--json <file>', 'write the figures there too')
  .option('--markdown <file>', 'put the table between the <!-- table --> markers of that file')
  .option('--only <case...>', `run these cases only: ${suites.map(({ name }) => name).join(', ')}`)
  .action(async (options: Options) => {
    try {
      await run(options)
    } catch (error) {
      process.stderr.write(`bench: ${(error as Error).message}\n`)
      process.exitCode = 1
    }
  })

await program.parseAsync()
