/** Things known by two numbers, mostly the same as the last time. */
export class ByNumbers<T> {
  readonly #things = new Map<string, T>()
  #first = -1
  #second = -1
  #found: T | undefined

  get size(): number {
    return this.#things.size
  }

  get(first: number, second: number): T | undefined {
    if (first !== this.#first || second !== this.#second) {
      this.#found = this.#things.get(`${first}:${second}`)
      this.#first = first
      this.#second = second
    }
    return this.#found
  }

  set(first: number, second: number, thing: T): void {
    this.#things.set(`${first}:${second}`, thing)
    this.#forgetLast()
  }

  /** Gives what was there. */
  remove(first: number, second: number): T | undefined {
    const found = this.get(first, second)
    this.#things.delete(`${first}:${second}`)
    this.#forgetLast()
    return found
  }

  values(): T[] {
    return [...this.#things.values()]
  }

  clear(): void {
    this.#things.clear()
    this.#forgetLast()
  }

  #forgetLast(): void {
    this.#first = -1
    this.#found = undefined
  }
}
