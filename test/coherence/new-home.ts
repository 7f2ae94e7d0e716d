import { Home } from '../../src/coherence/home.js'
import { Recorder } from './recorder.js'

export const pageCount = 100_000

/** A home with the nodes 1, 2 and 3, and 4, which may only read. */
export function newHome(holdMs = 2) {
  const recorder = new Recorder()
  const home = new Home({ pageCount, holdMs }, recorder.home)
  for (const node of [1, 2, 3]) home.join(node, 'write')
  home.join(4, 'read')
  return { home, said: () => recorder.take() }
}
