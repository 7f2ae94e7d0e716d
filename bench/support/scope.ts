/** What a case started and must end: processes, files. Ended in reverse order, also on a signal. */
export class Scope {
  readonly #ends: (() => unknown)[] = []

  defer(end: () => unknown): void {
    this.#ends.push(end)
  }

  async close(): Promise<void> {
    for (let end = this.#ends.pop(); end !== undefined; end = this.#ends.pop()) await end()
  }
}
