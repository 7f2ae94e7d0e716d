import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import { kernel } from '../kernel/index.js'

/** One thing the machine gives or does not give, what that means, and how to get more. */
export interface Finding {
  readonly subject: string
  /** 'good': all of it; 'less': xpmem works, with the limit told; 'bad': xpmem does not work. */
  readonly state: 'good' | 'less' | 'bad'
  readonly value: string
  readonly meaning: string
  /** '' where nothing is to be done. */
  readonly remedy: string
}

/** UFFDIO_API feature bits, from Linux's include/uapi/linux/userfaultfd.h, and the release that brought them. */
const userfaultFeatures = [
  { bit: 12, name: 'WP_HUGETLBFS_SHMEM', since: '5.19', use: 'write protection of shared memory' },
  { bit: 13, name: 'WP_UNPOPULATED', since: '6.4', use: 'live sharing of memory never touched, without populating it' },
  { bit: 14, name: 'POISON', since: '6.6', use: 'pages that fail on purpose' },
] as const

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}

function userfault(): Finding {
  const { mode, refusal } = kernel.userfault()
  const subject = 'userfaultfd'
  if (mode === 'full') {
    const meaning = 'a system call that meets a page under way waits for it, as a load does'
    return { subject, state: 'good', value: 'full', meaning, remedy: '' }
  }
  const remedy =
    'run as root or with CAP_SYS_PTRACE; or let this user open /dev/userfaultfd; or sysctl vm.unprivileged_userfaultfd=1'
  if (mode === 'user') {
    const meaning =
      'a system call that writes into memory while it is being moved fails with EFAULT; loads and stores are not affected'
    return { subject, state: 'less', value: `user mode only (${refusal})`, meaning, remedy }
  }
  const meaning = 'memory of allocate() is shared; memory that exists already cannot be'
  return {
    subject,
    state: 'less',
    value: `none (${refusal})`,
    meaning,
    remedy: `${remedy}; in a container, allow the userfaultfd system call`,
  }
}

function features(): Finding[] {
  const { mode, features: bits } = kernel.userfault()
  if (mode === 'none') return []
  return userfaultFeatures.map(({ bit, name, since, use }) => {
    const given = (bits & (1n << BigInt(bit))) !== 0n
    return {
      subject: `userfaultfd ${name}`,
      state: given ? 'good' : 'less',
      value: given ? 'yes' : 'no',
      meaning: use,
      remedy: given ? '' : `Linux ${since} or later`,
    }
  })
}

function memfd(): Finding {
  const subject = 'memfd'
  try {
    kernel.allocate(kernel.pageSize, false)
    return { subject, state: 'good', value: 'sealed memfds work', meaning: 'memory can be shared', remedy: '' }
  } catch (error) {
    const meaning = 'nothing can be shared'
    return {
      subject,
      state: 'bad',
      value: (error as Error).message,
      meaning,
      remedy: 'allow memfd_create and mount /proc',
    }
  }
}

function hugePages(): Finding {
  const setting = /\[(\w+)\]/.exec(textOf('/sys/kernel/mm/transparent_hugepage/shmem_enabled'))?.[1] ?? 'unknown'
  const given = setting !== 'never' && setting !== 'deny' && setting !== 'unknown'
  return {
    subject: 'huge pages for shared memory',
    state: given ? 'good' : 'less',
    value: setting,
    meaning: given
      ? 'allocate({ hugePages: true }) gets them'
      : 'shared memory has pages of 4 KiB; allocate({ hugePages: true }) changes nothing',
    remedy: given ? '' : 'echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled',
  }
}

function openFiles(): Finding {
  const [, soft = '', hard = ''] = /^Max open files\s+(\S+)\s+(\S+)/m.exec(textOf('/proc/self/limits')) ?? []
  const enough = soft === 'unlimited' || Number(soft) >= 4096
  return {
    subject: 'open files',
    state: enough ? 'good' : 'less',
    value: `${soft} of ${hard}`,
    meaning: 'the service keeps two descriptors a segment and one a connection',
    remedy: enough ? '' : 'ulimit -n 65536, or LimitNOFILE= of the service manager',
  }
}

function processMemory(): Finding {
  const subject = 'process_vm_readv'
  const page = new Uint8Array(16)
  try {
    kernel.readProcessMemory(process.pid, kernel.addressOf(page), new Uint8Array(16))
    return { subject, state: 'good', value: 'yes', meaning: 'a diagnostic; sharing does not need it', remedy: '' }
  } catch (error) {
    const value = `no (${(error as NodeJS.ErrnoException).code})`
    return { subject, state: 'less', value, meaning: 'a diagnostic; sharing does not need it', remedy: '' }
  }
}

/** What this machine gives to this user. */
export function examine(): Finding[] {
  const kernelFinding: Finding = {
    subject: 'kernel',
    state: 'good',
    value: `Linux ${release()}, pages of ${kernel.pageSize} bytes`,
    meaning: 'features are asked for one by one, below',
    remedy: '',
  }
  return [kernelFinding, memfd(), userfault(), ...features(), hugePages(), openFiles(), processMemory()]
}
