import { kernel } from '../kernel/index.js'

/** A file descriptor with a count of its users; closed, once, when the last lets go. */
export class Descriptor {
  readonly number: number
  #users = 1

  constructor(number: number) {
    this.number = number
  }

  retain(): this {
    this.#users += 1
    return this
  }

  release(): void {
    this.#users -= 1
    if (this.#users === 0) kernel.close(this.number)
  }
}

export function closeAll(numbers: readonly number[]): void {
  for (const number of numbers) kernel.close(number)
}
