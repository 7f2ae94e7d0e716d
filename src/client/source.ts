import { markAsUntransferable } from 'node:worker_threads'
import { XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'

/** A range of this process's address space, in bytes. */
export interface AddressRange {
  readonly address: bigint
  readonly length: number
}

/** A WebAssembly.Memory, told by its shape: the name is not in the types of every program. */
export interface MemoryObject {
  readonly buffer: ArrayBufferLike
}

/** What can be shared: memory of `allocate`, any page-aligned memory, a WebAssembly memory, an address range. */
export type MemorySource = ArrayBufferLike | ArrayBufferView | MemoryObject | AddressRange

export interface ResolvedSource extends AddressRange {
  /** Kept reachable while the memory is shared. */
  readonly keep: object
}

/** The end of user addresses with four-level page tables, the most any process gets without asking for more. */
const maxAddress = 1n << 47n

const pageMask = BigInt(kernel.pageSize - 1)

function isAddressRange(source: object): source is AddressRange {
  return typeof (source as AddressRange).address === 'bigint' && typeof (source as AddressRange).length === 'number'
}

function isBuffer(source: unknown): source is ArrayBufferLike {
  return source instanceof ArrayBuffer || source instanceof SharedArrayBuffer
}

function locate(source: MemorySource): ResolvedSource {
  if (isBuffer(source) || ArrayBuffer.isView(source)) {
    return { address: kernel.addressOf(source), length: source.byteLength, keep: source }
  }
  if (typeof source === 'object' && source !== null) {
    if (isAddressRange(source)) return { address: source.address, length: source.length, keep: source }
    if (isBuffer(source.buffer)) {
      return { address: kernel.addressOf(source.buffer), length: source.buffer.byteLength, keep: source }
    }
  }
  throw new XpmemError('EINVAL', 'make', 'give an ArrayBuffer, a view, a WebAssembly.Memory, or { address, length }')
}

function checkRange({ address, length }: AddressRange): void {
  if (!Number.isSafeInteger(length) || length <= 0)
    throw new XpmemError('EINVAL', 'make', `the length is ${length} bytes`)
  if ((address & pageMask) !== 0n || (BigInt(length) & pageMask) !== 0n) {
    throw new XpmemError(
      'EINVAL',
      'make',
      `the memory (address 0x${address.toString(16)}, ${length} bytes) is not made of whole pages of ${kernel.pageSize} bytes: ` +
        'use memory of partition.allocate(), or Partition.copyOf(view), which copies it into a fresh region',
    )
  }
  if (address < 0n || address + BigInt(length) > maxAddress) {
    throw new XpmemError('EINVAL', 'make', 'the range ends after the address space')
  }
}

/** Where the memory lies. EINVAL, with what to do, if it cannot be shared. */
export function resolveSource(source: MemorySource): ResolvedSource {
  const resolved = locate(source)
  checkRange(resolved)
  // A transfer would take the memory out of the buffer's hands while it is shared.
  const buffer = ArrayBuffer.isView(source) ? source.buffer : source
  if (buffer instanceof ArrayBuffer) markAsUntransferable(buffer)
  return resolved
}
