import { isDeepStrictEqual } from 'node:util'
import { kernel } from '../../kernel/index.js'
import type { Mean } from './means.js'
import { type Line, ms, print, require, type Stage } from './stage.js'

interface FarComputed extends Line {
  readonly byHour: Mean[]
  readonly attachMs: number
  readonly computeMs: number
  readonly pagesMoved: number
  readonly pages: number
}

const [home, far] = ['here', 'there'] as const

/** The same memory in two partitions, each with a service of its own, joined by TCP. */
export async function playAcross(stage: Stage, expected: readonly Mean[]): Promise<void> {
  if (kernel.userfault().mode === 'none') {
    print("\nNOT SHOWN: two partitions, which take a userfaultfd: see 'xpmem doctor'")
    return
  }
  const { child, listen } = await stage.serve(
    home,
    '--id',
    '1',
    '--listen',
    '127.0.0.1:0',
    '--peer',
    far,
    '--trust',
    far,
  )
  const { child: other } = await stage.serve(far, '--id', '2', '--peer', `${home}=${listen}`)
  print(`\npartitions  '${home}' (service pid ${child.pid}) and '${far}' (pid ${other.pid}), joined over ${listen}`)
  const owner = stage.cast('./owner.js', home)
  await owner.hear('made')
  const reader = stage.cast('./far-reader.js', far)
  const computed = await reader.hear<FarComputed>('computed')
  require(isDeepStrictEqual(computed.byHour, expected), 'the means are others in the other partition')
  print(
    `'${far}'     pid ${reader.child.pid} attached far memory in ${ms(computed.attachMs)} and computed the same means in ` +
      `${ms(computed.computeMs)}: ${computed.pagesMoved} of ${computed.pages} pages had to move`,
  )
  const change = await reader.ask('change')
  const look = await owner.ask('look')
  require(look.delay === change.after, 'the owner does not see what the other partition wrote')
  print(`'${far}'     changed a delay from ${change.before} to ${change.after}`)
  print(`'${home}'      the owner sees ${look.delay}`)
  reader.tell('leave')
  await reader.exited
}
