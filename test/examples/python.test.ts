import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { formatId } from '../../src/index.js'
import { run } from '../cli/cli.js'
import { type Made, read, write } from '../conformance/face.js'
import { startActor } from '../support/actor.js'
import { startService } from '../support/service.js'

const root = new URL('../../../', import.meta.url)
const script = fileURLToPath(new URL('examples/python/attach.py', root))
const LD_LIBRARY_PATH = fileURLToPath(new URL('build/libxpmem/lib', root))

test('examples/python/attach.py prints the text of a segment of TypeScript and writes it in capitals', async (t) => {
  const { runtimeDir } = await startService(t)
  const owner = await startActor(t, { runtimeDir })
  const env = { LD_LIBRARY_PATH, XPMEM_RUNTIME_DIR: runtimeDir }
  for (const kind of ['allocate', 'live']) {
    const memory = await owner.call<number>(kind, 8192)
    await write(owner, memory, 0, 'made by TypeScript')
    const { segid } = await owner.call<Made>('make', memory)
    const id = formatId(segid)
    const { code, stdout, stderr } = await run('python3', [script, id, '8192'], { env })
    assert.equal(stderr, '')
    assert.equal(code, 0)
    assert.equal(
      stdout.toString(),
      `segment ${id}, 8192 bytes, begins with 'made by TypeScript'\nnow it begins with 'MADE BY TYPESCRIPT'\n`,
    )
    assert.equal(await read(owner, memory, 0, 18), 'MADE BY TYPESCRIPT')
  }
})

test('examples/python/attach.py says which call failed and why', async (t) => {
  const { runtimeDir } = await startService(t)
  const env = { LD_LIBRARY_PATH, XPMEM_RUNTIME_DIR: runtimeDir }
  const { code, stderr } = await run('python3', [script, '0x0000000000000005'], { env })
  assert.equal(code, 1)
  assert.match(stderr, /xpmem_get: No such file or directory/)
})
