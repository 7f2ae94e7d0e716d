export type { AttachOptions } from './client/attaching.js'
export { Attachment, type AttachmentEvents, type AttachmentStats, type RevocationReason } from './client/attachment.js'
export { notify, wait } from './client/futex.js'
export {
  type AllocateOptions,
  type MakeOptions,
  type OpenOptions,
  Partition,
  type PartitionEvents,
  type RolledBackRange,
} from './client/partition.js'
export { type Access, Permit } from './client/permit.js'
export { Segment } from './client/segment.js'
export type { AddressRange, MemorySource } from './client/source.js'
export { type ErrorCode, XpmemError } from './errors.js'
export { formatId, type PermitId, parseId, type SegmentId } from './ids.js'
export type { PartitionInfo } from './wire/partition-info.js'
export type { SegmentInfo } from './wire/segment-info.js'
