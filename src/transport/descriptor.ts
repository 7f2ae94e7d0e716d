import { kernel } from '../kernel/index.js'

/** Descriptors that are closed in a way of their own, and how. */
const otherwise = new Map<number, (descriptor: number) => void>()

/** Has a descriptor closed by `close` when its time comes: its close may wait for somebody. */
export function closeOtherwise(descriptor: number, close: (descriptor: number) => void): void {
  otherwise.set(descriptor, close)
}

export function closeDescriptor(descriptor: number): void {
  const close = otherwise.get(descriptor)
  if (close === undefined) return kernel.close(descriptor)
  otherwise.delete(descriptor)
  close(descriptor)
}

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
    if (this.#users === 0) closeDescriptor(this.number)
  }
}

export function closeAll(numbers: readonly number[]): void {
  for (const number of numbers) closeDescriptor(number)
}
