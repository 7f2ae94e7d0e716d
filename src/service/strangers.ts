import { readSync } from 'node:fs'
import { kernel, metaLength, type Poll } from '../kernel/index.js'
import { closeAll, closeMuchMemory, closeOtherwise } from '../transport/descriptor.js'
import { Closings } from './closings.js'
import type { ThreadGroup } from './groups.js'

/** Closes under way at once, each on a thread. */
const limits = { atOnce: 64, atOncePerOwner: 8 }

/** A process that has so many closes waited for is not read from until there are fewer. */
const mostOfOne = 32

/** Of a close that nobody waits for the end of. */
const nobodysNumber = 0

/** Bytes of the number that a thread says when it has closed. */
const numberBytes = 4

/**
 * Closes what clients sent and is no memfd, and connections in which such things may lie unread. A
 * close of a file waits for its file system (FUSE: for a process of the client), the last one of a
 * socket for its peer (SO_LINGER), and the last one of much memory until it is freed; so none of them
 * happens on this thread.
 */
export class Strangers {
  readonly #closings = new Closings<ThreadGroup | undefined>(limits)
  // Never closed: threads that have not ended when the service does still write to it.
  readonly #pipe = kernel.pipe()
  readonly #ended = new Uint32Array(limits.atOnce)
  readonly #bytes = new Uint8Array(1)
  readonly #meta = new Int32Array(metaLength)
  readonly #poll: Poll
  readonly #tooMuch = new Set<ThreadGroup>()
  readonly #changed: (group: ThreadGroup) => void

  /** `changed`: of a process there is too much now, or no longer. */
  constructor(changed: (group: ThreadGroup) => void) {
    this.#changed = changed
    this.#poll = kernel.poll(this.#pipe[0], () => this.#hear())
    this.#poll.start(1)
    closeMuchMemory((descriptor) => this.#closeMemory(descriptor))
  }

  /** Descriptors that are open for no other reason than that they wait to be closed. */
  get waiting(): number {
    return this.#closings.waiting
  }

  /** The process has sent more than can be closed for now. */
  isTooMuchOf(group: ThreadGroup): boolean {
    return this.#tooMuch.has(group)
  }

  /** Descriptors that a process sent. */
  arrived(descriptors: readonly number[], group: ThreadGroup): void {
    for (const descriptor of descriptors) {
      if (!kernel.isMemory(descriptor)) closeOtherwise(descriptor, () => this.#close(descriptor, group))
    }
  }

  /** A connection, which its channel closes. */
  connected(socket: number, group: ThreadGroup): void {
    closeOtherwise(socket, () => this.closeSocket(socket, group))
  }

  closeSocket(socket: number, group: ThreadGroup | undefined): void {
    while (!kernel.hangUp(socket)) {
      const mayDrop = group !== undefined && !this.isTooMuchOf(group)
      if (!mayDrop || !this.#dropUnread(socket, group)) return this.#close(socket, group)
    }
    kernel.close(socket)
  }

  /** Takes a message for the descriptors beside it. False if that fails. */
  #dropUnread(socket: number, group: ThreadGroup): boolean {
    try {
      kernel.receive(socket, this.#bytes, this.#meta)
    } catch {
      return false
    }
    const descriptors = [...this.#meta.subarray(3, 3 + (this.#meta[0] ?? 0))]
    this.arrived(descriptors, group)
    closeAll(descriptors)
    return true
  }

  close(): void {
    closeMuchMemory(undefined)
    this.#poll.close()
  }

  #close(descriptor: number, group: ThreadGroup | undefined): void {
    this.#closings.add(group, descriptor)
    this.#begin()
    if (group === undefined || this.#closings.of(group) <= mostOfOne || this.#tooMuch.has(group)) return
    this.#tooMuch.add(group)
    this.#changed(group)
  }

  /** Not behind the others: it waits for nobody. */
  #closeMemory(descriptor: number): void {
    if (!kernel.closeApart(descriptor, this.#pipe[1], nobodysNumber)) kernel.close(descriptor)
  }

  #begin(): void {
    for (let next = this.#closings.next(); next !== undefined; next = this.#closings.next()) {
      if (kernel.closeApart(next.descriptor, this.#pipe[1], next.number)) continue
      return this.#closings.postpone(next)
    }
  }

  /** Bytes of what threads said. */
  #read(): number {
    try {
      return readSync(this.#pipe[0], this.#ended)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return 0
      throw error
    }
  }

  #hear(): void {
    for (const number of this.#ended.subarray(0, this.#read() / numberBytes)) this.#closings.ended(number)
    this.#begin()
    for (const group of this.#tooMuch) {
      if (this.#closings.of(group) <= mostOfOne && this.#tooMuch.delete(group)) this.#changed(group)
    }
  }
}
