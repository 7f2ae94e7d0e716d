import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { formatBytes, formatTable } from '../table.js'
import { requireData } from './data.js'
import { playAcross } from './far.js'
import type { Mean } from './means.js'
import {
  endService,
  type Line,
  ms,
  type OwnService,
  Player,
  print,
  require,
  type Stage,
  startOwnService,
} from './stage.js'

interface Computed extends Line {
  readonly byHour: Mean[]
  readonly byOrigin: Mean[]
  readonly rows: [number, number]
  readonly buffers: number
  readonly openMs: number
  readonly attachMs: number
  readonly parseMs: number
  readonly computeMs: number
}

/** Origins shown, of the many there are. */
const shownOrigins = 12

/** The main job on real data, each step with the time it took. Everything it starts ends with it. */
export async function runDemo(): Promise<void> {
  requireData()
  const runtimeDir = mkdtempSync(join(tmpdir(), 'xpmem-demo-'))
  const players: Player[] = []
  const services: OwnService[] = []
  const stage: Stage = {
    cast(file, partition) {
      const player = new Player(file, { runtimeDir, partition })
      players.push(player)
      return player
    },
    async serve(partition, ...more) {
      const service = await startOwnService({ runtimeDir, partition }, more)
      services.push(service)
      return service
    },
  }
  try {
    const started = performance.now()
    const { child } = await stage.serve('demo')
    print(`service     pid ${child.pid}, ready after ${ms(performance.now() - started)}`)
    const means = await play((file) => stage.cast(file, 'demo'))
    await playAcross(stage, means)
  } finally {
    await Promise.all(players.map((player) => player.end('SIGKILL')))
    await Promise.all(services.map(endService))
    rmSync(runtimeDir, { recursive: true, force: true })
  }
}

/** What happens in one partition. Gives the means per hour that the readers found. */
async function play(cast: (file: string) => Player): Promise<readonly Mean[]> {
  const owner = cast('./owner.js')
  const made = await owner.hear('made')
  print(
    `owner       pid ${owner.child.pid} read ${formatBytes(made.bytes as number)} in ${ms(made.readMs)}, opened in ${ms(made.openMs)}, made its segments in ${ms(made.makeMs)}`,
  )
  const strict = cast('./reader.js')
  process.env.XPMEM_DEMO_KEEP = '1'
  const keeping = cast('./reader.js')
  delete process.env.XPMEM_DEMO_KEEP
  const readers = [strict, keeping]
  const means = await showMeans(readers)
  await changeAValue(owner, readers)
  await killTheOwner(owner, strict, keeping)
  for (const reader of readers) reader.tell('leave')
  await Promise.all(readers.map((reader) => reader.exited))
  return means
}

async function showMeans(readers: Player[]): Promise<readonly Mean[]> {
  const results = await Promise.all(readers.map((reader) => reader.hear<Computed>('computed')))
  results.forEach((result, index) => {
    print(
      `reader ${index + 1}    pid ${readers[index]?.child.pid} opened in ${ms(result.openMs)}, attached in ${ms(result.attachMs)}, ` +
        `parsed in ${ms(result.parseMs)} (all ${result.buffers} buffers lie in the attachments), computed in ${ms(result.computeMs)}`,
    )
  })
  const [first, second] = results as [Computed, Computed]
  require(isDeepStrictEqual([first.byHour, first.byOrigin], [second.byHour, second.byOrigin]), 'the readers disagree')
  const [flights, origins] = first.rows
  print(`\nMean delay per hour of departure, ${flights} flights of flights-200k.arrow, in minutes`)
  print(meansTable('HOUR', first.byHour))
  print(
    `\nMean delay per origin, ${origins} flights of flights-20k, the ${shownOrigins} busiest of ${first.byOrigin.length} origins`,
  )
  print(`${meansTable('ORIGIN', first.byOrigin.slice(0, shownOrigins))}\n`)
  return first.byHour
}

function meansTable(title: string, rows: Mean[]): string {
  return formatTable(
    [title, 'FLIGHTS', 'MEAN DELAY'],
    rows.map(({ key, flights, meanDelay }) => [key, flights, meanDelay.toFixed(2)]),
  )
}

async function changeAValue(owner: Player, readers: Player[]): Promise<void> {
  const started = performance.now()
  const change = await owner.ask('change')
  const looks = await Promise.all(readers.map((reader) => reader.ask('look')))
  require(looks.every(({ delay }) => delay === change.after), 'a reader does not see what the owner wrote')
  print(`owner       changed a delay from ${change.before} to ${change.after}`)
  looks.forEach(({ delay, meanHour0 }, index) => {
    print(`reader ${index + 1}    sees ${delay}; its mean for hour 0 is ${(meanHour0 as number).toFixed(2)} now`)
  })
  print(`            both looked within ${ms(performance.now() - started)}\n`)
}

async function killTheOwner(owner: Player, strict: Player, keeping: Player): Promise<void> {
  const killed = performance.now()
  const revoked = strict.hear('revoked')
  await owner.end('SIGKILL')
  const { why, bytes } = await revoked
  print(`owner       killed with SIGKILL`)
  print(
    `reader 1    was told '${why}' after ${ms(performance.now() - killed)}; its buffer has ${bytes} bytes now, and it goes on`,
  )
  const after = await keeping.ask('after')
  require(after.gone === true && after.delay === 9_999, 'the reader that keeps the content lost it')
  print(
    `reader 2    finds the owner gone and goes on with the last content: ${after.length} delays, the first ${after.delay}`,
  )
  const still = await strict.ask('after')
  require(still.gone === true && still.length === 0, 'the revoked reader still sees memory')
}
