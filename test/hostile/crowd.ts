/** Many connections from another process. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Hostile } from './scene.js'

export const crowdMain = fileURLToPath(new URL('./crowd-main.js', import.meta.url))

/** How many connections were welcomed, refused with EMFILE, and closed without a word. */
export interface Outcome {
  readonly welcome: number
  readonly refused: number
  readonly closed: number
}

/** Connects and says hello that often, and holds what it gets until the case ends. */
export async function startCrowd(hostile: Hostile, count: number): Promise<Outcome> {
  const child = spawn(process.execPath, [crowdMain, hostile.scene.service.socket, String(count)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  hostile.after(async () => {
    child.kill('SIGKILL')
    await exited
  })
  child.stdout.setEncoding('utf8')
  const [line] = (await once(child.stdout, 'data')) as [string]
  return JSON.parse(line) as Outcome
}
