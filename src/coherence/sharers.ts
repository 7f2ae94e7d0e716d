/**
 * Sets of nodes, each kept once and known by a number, so that a page needs no more than the number.
 * A set is kept as long as some page has it. The empty set is 0 and always there.
 */
export class SharerSets {
  readonly #members: number[][] = [[]]
  /** How many pages have each set. */
  readonly #pages: number[] = [0]
  readonly #ids = new Map<string, number>([['', 0]])
  readonly #free: number[] = []
  /** Neighbouring pages mostly change in the same way: the last change, and what it came to. */
  #lastFrom = -1
  #lastChange = 0
  #lastTo = 0

  /** How many sets are kept. */
  get size(): number {
    return this.#members.length - this.#free.length
  }

  /** Ascending. */
  members(id: number): readonly number[] {
    return this.#members[id] as number[]
  }

  has(id: number, node: number): boolean {
    return this.members(id).includes(node)
  }

  /** The set with the node; somebody must `retain` it. */
  with(id: number, node: number): number {
    return this.#changed(id, node, (members) => [...new Set(members).add(node)].sort((a, b) => a - b))
  }

  /** The set without the node; somebody must `retain` it. */
  without(id: number, node: number): number {
    return this.#changed(id, -node, (members) => members.filter((member) => member !== node))
  }

  #changed(id: number, change: number, result: (members: readonly number[]) => number[]): number {
    if (id !== this.#lastFrom || change !== this.#lastChange) {
      this.#lastTo = this.#intern(result(this.members(id)))
      this.#lastFrom = id
      this.#lastChange = change
    }
    return this.#lastTo
  }

  #intern(members: number[]): number {
    const key = members.join()
    const known = this.#ids.get(key)
    if (known !== undefined) return known
    const id = this.#free.pop() ?? this.#members.length
    this.#members[id] = members
    this.#pages[id] = 0
    this.#ids.set(key, id)
    return id
  }

  retain(id: number): void {
    this.#pages[id] = (this.#pages[id] as number) + 1
  }

  release(id: number): void {
    const pages = (this.#pages[id] as number) - 1
    this.#pages[id] = pages
    if (pages > 0 || id === 0) return
    this.#ids.delete(this.members(id).join())
    this.#members[id] = []
    this.#free.push(id)
    this.#lastFrom = -1
  }
}
