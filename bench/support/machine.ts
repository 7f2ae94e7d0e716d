import { readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { formatBytes } from '../../src/cli/table.js'

function chosen(path: string): string {
  try {
    return /\[(\S+)\]/.exec(readFileSync(path, 'utf8'))?.[1] ?? 'unknown'
  } catch {
    return 'not there'
  }
}

/** Whether the kernel says that it runs on a hypervisor. */
function virtual(): boolean {
  return /^flags\s.*\bhypervisor\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'))
}

/** The machine in a line, as far as it matters to the figures. */
export function describeMachine(): string {
  const processors = cpus()
  const model = processors[0]?.model.trim() ?? 'unknown processor'
  const hugePages = '/sys/kernel/mm/transparent_hugepage'
  return [
    `${model}, ${processors.length} ${processors.length === 1 ? 'core' : 'cores'}${virtual() ? ' of a virtual machine' : ''}`,
    `${formatBytes(totalmem())} of memory`,
    `Linux ${release()}`,
    `Node.js ${process.versions.node}`,
    `transparent huge pages: ${chosen(`${hugePages}/enabled`)} for private memory, ${chosen(`${hugePages}/shmem_enabled`)} for shared`,
  ].join('; ')
}
