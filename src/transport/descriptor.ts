import { kernel } from '../kernel/index.js'

/** Descriptors that are closed in a way of their own, and how. */
const otherwise = new Map<number, (descriptor: number) => void>()

/** Has a descriptor closed by `close` when its time comes: its close may wait for somebody. */
export function closeOtherwise(descriptor: number, close: (descriptor: number) => void): void {
  otherwise.set(descriptor, close)
}

/** Memory in use of which that much is freed in some milliseconds: a GiB takes 0.1 to 0.2 s. */
const muchBytes = 16 * 1024 * 1024

let closeMuch: ((descriptor: number) => void) | undefined

/** Has memory of which there is much closed by `close`, as it is freed then; undefined: like any other. */
export function closeMuchMemory(close: ((descriptor: number) => void) | undefined): void {
  closeMuch = close
}

export function closeDescriptor(descriptor: number): void {
  const close = otherwise.get(descriptor)
  if (close !== undefined) {
    otherwise.delete(descriptor)
    close(descriptor)
  } else if (closeMuch !== undefined && kernel.inspect(descriptor).usedBytes >= muchBytes) closeMuch(descriptor)
  else kernel.close(descriptor)
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
