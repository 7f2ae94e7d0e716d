import type { Row } from './row.js'
import type { Scope } from './scope.js'

export interface Suite {
  /** For `--only`. */
  readonly name: string
  /** What it measures, in a line. */
  readonly about: string
  /** Throws if a part fails to run, or loses data. */
  run(scope: Scope): Promise<Row[]>
}
