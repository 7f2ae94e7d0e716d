import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { run, stage } from '../cli/cli.js'

const folder = fileURLToPath(new URL('../../examples/', import.meta.url))

for (const name of readdirSync(folder).filter((file) => file.endsWith('.js'))) {
  test(`examples/${name} does what it says, starting the service itself`, async (t) => {
    const { runtimeDir } = stage(t)
    const outcome = await run(process.execPath, [`${folder}${name}`], { env: { XPMEM_RUNTIME_DIR: runtimeDir } })
    assert.equal(outcome.stderr, '')
    assert.equal(outcome.code, 0)
    assert.notEqual(outcome.stdout.length, 0)
  })
}
