/**
 * The rows of the semantics: what each call does, to the letter. The first column was measured on the
 * kernel driver of XPMEM, the second is what is promised here. Every row has a case.
 */
const makeGet = {
  'make refuses': ['make: size 0; not page-aligned; permit type not 1; permit bits outside 0777', 'EINVAL'],
  'make a hole': ['make: a range with nothing mapped', 'ok; an access to it later is SIGBUS'],
  'make too far': ['make: range past the end of the address space', 'EINVAL'],
  'make everything': [
    'make: (0, XPMEM_MAXADDR_SIZE)',
    'ok: the whole address space; data segment, heap and stack can be attached and written',
  ],
  'make twice': ['make twice on one range', 'two segids'],
  'get refuses': ['get: segid 0 or negative; permit type not 1; flags 3 or 4', 'EINVAL'],
  'get flags 0': ['get: flags 0', 'ok'],
  'get nothing': ['get: unknown, removed, owner gone', 'ENOENT'],
  'get forbidden': ['get: mode bits refuse, as System V IPC; CAP_IPC_OWNER passes', 'EACCES'],
  'get own': ['get by the owner itself; attach in the owner', 'ok, an alias of the same memory'],
} as const

const attachDetach = {
  'attach read-only': ['attach with a read-only permit', 'PROT_READ; a store is SIGSEGV; mprotect to writable fails'],
  'attach refuses': [
    'offset or address not page-aligned; negative or too far offset; offset + size past the end; size 0; apid 0',
    'EINVAL',
  ],
  'attach rounds': ['size not a multiple of the page size', 'rounded up'],
  'attach nothing': ['apid unknown or released; segment removed', 'ENOENT'],
  'attach at': ['at an address given, free', 'mapped there'],
  'attach over': ['at an address given, over another attachment; onto its own source', 'EINVAL'],
  'attach twice': ['attach twice with one permit', 'two addresses, same memory'],
  'attach a hole': ['attach a part of a whole-address-space segment where nothing is mapped', 'ok; access is SIGBUS'],
  'detach inside': ['detach with an address inside an attachment', 'the whole attachment goes'],
  'detach again': ['detach: already detached, or nothing mapped there', 'ok'],
  'detach ordinary': ['detach: ordinary memory', 'EINVAL'],
  munmap: ['munmap of an attachment', 'allowed, and it counts as a detach'],
  'fork view': ["after fork: the child's view of an attachment", 'absent (SIGSEGV)'],
  'read and write': ['read(2) into, write(2) from an attachment', 'works'],
  futex: ['futex on an attachment (so any pthread mutex, semaphore)', 'works'],
  'first touch': ['first touch', "the page cache's own fault-around; no pinning"],
} as const

const ends = {
  release: ['release', 'its attachments go; access is SIGSEGV'],
  'release nothing': ['release twice, or unknown', 'ENOENT; 0 or negative: EINVAL'],
  'release foreign': ["release of another process's permit", 'EACCES'],
  'remove foreign': ['remove by another process', 'EACCES'],
  'remove nothing': ['remove twice, unknown', 'ENOENT; 0: EINVAL'],
  'remove attached': [
    'remove while attached',
    "attachers' next access is SIGBUS, touched or not; detach and release still ok; attach on the old permit " +
      'ENOENT; remove answers only when every attacher is revoked',
  ],
  'owner ends': [
    'owner exits or is killed while attached',
    'attachers: SIGBUS; get ENOENT; attach ENOENT; detach, release ok; with XPMEM_OWNER_EXIT=keep (C) or ' +
      "onOwnerExit: 'keep' (TypeScript) attachments keep the last content instead",
  ],
  'owner execs': [
    'exec in the owner while attached',
    'as its end, whatever program comes: attachers: SIGBUS; get ENOENT; attach ENOENT; what the program offers is its own',
  ],
  'holder execs': ['exec in a process that attached', 'its attachments and permits are gone; attach, release ENOENT'],
  'owner unmaps': ['owner unmaps the memory while attached', 'attachers keep the last content'],
  'close duplicates': ['close(dup(fd)) of every descriptor of the owner', 'nothing happens'],
  popen: ['popen between make and get', 'ok'],
  'fork owner': ['fork in the owner, then writes in both', 'owner and attacher stay coherent; child has its own copy'],
  'revoked in JavaScript': [
    'In JavaScript a revoked attachment',
    "has buffer.byteLength 0, revoked true, and has emitted 'revoked'; a crash is never the answer",
  ],
} as const

export const rows = { ...makeGet, ...attachDetach, ...ends }

export type Row = keyof typeof rows
