import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { XpmemError } from '../errors.js'
import { maxIncarnation, maxSequence, packId } from '../ids.js'

/** Incarnations count minutes from here at least, so a wiped runtime directory does not start again at 1. */
const epochMs = Date.UTC(2026, 0, 1)

/** What the file says: the last incarnation, and whether its service left with nothing in its care. */
interface Record {
  readonly incarnation: number
  readonly idle: boolean
}

function read(path: string): Record {
  try {
    const [first, second] = readFileSync(path, 'utf8').trim().split(' ')
    const incarnation = Number(first)
    const valid = Number.isSafeInteger(incarnation) && incarnation > 0 && incarnation <= maxIncarnation
    return { incarnation: valid ? incarnation : 0, idle: second === 'idle' }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { incarnation: 0, idle: true }
    throw error
  }
}

function write(path: string, text: string): void {
  writeFileSync(`${path}.new`, `${text}\n`, { mode: 0o600 })
  renameSync(`${path}.new`, path)
}

/** The next incarnation of the partition, written down before it is used. */
function claimAfter(previous: number, path: string, nowMs: number): number {
  const minutes = Math.floor((nowMs - epochMs) / 60_000)
  const incarnation = Math.max(previous + 1, Math.min(minutes, maxIncarnation - 1), 1)
  if (incarnation > maxIncarnation) {
    throw new XpmemError('EAGAIN', 'serve', 'every incarnation of this partition was used: choose another --id')
  }
  write(path, `${incarnation}`)
  return incarnation
}

/** Gives identifiers that were never given before in this partition. */
export class IdSource {
  readonly #path: string
  readonly #partition: number
  readonly #now: () => number
  /** Processes may be alive that an earlier service knew. */
  readonly hasSurvivors: boolean
  #incarnation: number
  #sequence = 0

  constructor(path: string, partition: number, now: () => number) {
    this.#path = path
    this.#partition = partition
    this.#now = now
    const previous = read(path)
    this.hasSurvivors = !previous.idle
    this.#incarnation = claimAfter(previous.incarnation, path, now())
  }

  get incarnation(): number {
    return this.#incarnation
  }

  next(): bigint {
    if (this.#sequence === maxSequence) {
      this.#incarnation = claimAfter(this.#incarnation, this.#path, this.#now())
      this.#sequence = 0
    }
    this.#sequence += 1
    return packId({ partition: this.#partition, incarnation: this.#incarnation, sequence: this.#sequence })
  }

  /**
   * Writes down that the service leaves with nothing in its care, so that its successor waits for
   * nobody. If it cannot, the successor waits.
   */
  leaveIdle(): void {
    try {
      write(this.#path, `${this.#incarnation} idle`)
    } catch {
      // The runtime directory was taken away from under the service.
    }
  }
}
