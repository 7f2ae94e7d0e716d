import { geteuid } from 'node:process'
import { test } from 'node:test'
import { kernel } from '../../src/kernel/index.js'
import { startActor } from '../support/actor.js'
import { startService } from '../support/service.js'
import { attachDetachCases, endCases } from './attach-detach.js'
import type { Face } from './face.js'
import { makeGetCases } from './make-get.js'

const cases = [...makeGetCases, ...attachDetachCases, ...endCases]

console.log(`TypeScript face: ${cases.length} rows of the semantics`)

for (const { row, run } of cases) {
  test(`TypeScript, ${row}`, async (t) => {
    const { runtimeDir } = await startService(t)
    const face: Face = {
      name: 'TypeScript',
      pageSize: kernel.pageSize,
      start: () => startActor(t, { runtimeDir }),
      async startAs(uid, gid, groups) {
        if (geteuid?.() !== 0) return undefined
        return startActor(t, { runtimeDir, uid, gid, groups })
      },
    }
    await run(face)
  })
}
