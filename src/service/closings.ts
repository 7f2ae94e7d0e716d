/** A close that may begin. */
export interface Closing {
  readonly descriptor: number
  /** For `ended`. */
  readonly number: number
}

export interface ClosingLimits {
  /** Closes under way at once. */
  readonly atOnce: number
  /** Of these, of one owner's: closes of others go on beside those that never end. */
  readonly atOncePerOwner: number
}

/** Numbers begin with 1. */
const maxNumber = 2 ** 31 - 1

interface OwnerClosings {
  readonly waiting: number[]
  underWay: number
}

/** Which of the closes that may take any time are under way, and which wait for others to end. */
export class Closings<Owner> {
  readonly #limits: ClosingLimits
  readonly #owners = new Map<Owner, OwnerClosings>()
  readonly #underWay = new Map<number, Owner>()
  #waiting = 0
  #lastNumber = 0

  constructor(limits: ClosingLimits) {
    this.#limits = limits
  }

  /** Descriptors that are still open because others are being closed. */
  get waiting(): number {
    return this.#waiting
  }

  /** Closes of an owner's that have not ended. */
  of(owner: Owner): number {
    const closings = this.#owners.get(owner)
    return closings === undefined ? 0 : closings.waiting.length + closings.underWay
  }

  add(owner: Owner, descriptor: number): void {
    const closings = this.#owners.get(owner) ?? { waiting: [], underWay: 0 }
    this.#owners.set(owner, closings)
    closings.waiting.push(descriptor)
    this.#waiting += 1
  }

  /** The next that may begin, now under way; undefined if none may. */
  next(): Closing | undefined {
    if (this.#waiting === 0 || this.#underWay.size >= this.#limits.atOnce) return undefined
    for (const [owner, closings] of this.#owners) {
      if (closings.underWay >= this.#limits.atOncePerOwner) continue
      const descriptor = closings.waiting.pop()
      if (descriptor === undefined) continue
      closings.underWay += 1
      this.#waiting -= 1
      do this.#lastNumber = (this.#lastNumber % maxNumber) + 1
      while (this.#underWay.has(this.#lastNumber))
      this.#underWay.set(this.#lastNumber, owner)
      return { descriptor, number: this.#lastNumber }
    }
    return undefined
  }

  /** One that `next` gave could not begin: it waits again. */
  postpone({ descriptor, number }: Closing): void {
    const owner = this.#underWay.get(number)
    if (owner === undefined && !this.#underWay.has(number)) return
    this.add(owner as Owner, descriptor)
    this.ended(number)
  }

  ended(number: number): void {
    const owner = this.#underWay.get(number) as Owner
    if (!this.#underWay.delete(number)) return
    const closings = this.#owners.get(owner) as OwnerClosings
    closings.underWay -= 1
    if (closings.underWay === 0 && closings.waiting.length === 0) this.#owners.delete(owner)
  }
}
