import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { endServices, run, stage, xpmem } from './cli.js'

const file = new URL(import.meta.url).pathname

test('XPMEM_RUNTIME_DIR and XPMEM_PARTITION are honoured by serve, make, cat and ls', async (t) => {
  const { runtimeDir, start } = stage(t)
  const env = { XPMEM_RUNTIME_DIR: runtimeDir, XPMEM_PARTITION: 'green' }
  const service = await start(['serve'], { env })
  assert.equal(service.firstLine, `ready partition=green id=1 socket=${join(runtimeDir, 'green.sock')}`)
  const { firstLine: segid } = await start(['make', file, '--name', 'me'], { env })
  const listed = JSON.parse((await xpmem(['ls', '--json'], { env })).stdout.toString()) as { segid: string }[]
  assert.deepEqual(
    listed.map((info) => info.segid),
    [segid],
  )
  const { code, stdout } = await xpmem(['cat', 'me'], { env })
  assert.equal(code, 0)
  assert.match(stdout.toString(), /honoured by serve/)
})

test('the options go before the variables', async (t) => {
  const { runtimeDir, start } = stage(t)
  const where = ['--runtime-dir', runtimeDir, '--partition', 'chosen']
  const env = { XPMEM_RUNTIME_DIR: join(runtimeDir, 'unused'), XPMEM_PARTITION: 'unused' }
  const service = await start(['serve', ...where], { env })
  assert.match(service.firstLine, /^ready partition=chosen /)
  await start(['make', ...where, file, '--name', 'me'], { env })
  assert.equal((await xpmem(['cat', ...where, 'me'], { env })).code, 0)
  assert.equal((await xpmem(['ls', ...where], { env })).code, 0)
  assert.ok(!existsSync(join(runtimeDir, 'unused')))
})

test('segments of one partition are not seen in another', async (t) => {
  const { runtimeDir, start } = stage(t)
  for (const partition of ['one', 'two']) {
    await start(['serve'], { env: { XPMEM_RUNTIME_DIR: runtimeDir, XPMEM_PARTITION: partition } })
  }
  const one = { env: { XPMEM_RUNTIME_DIR: runtimeDir, XPMEM_PARTITION: 'one' } }
  const two = { env: { XPMEM_RUNTIME_DIR: runtimeDir, XPMEM_PARTITION: 'two' } }
  await start(['make', file, '--name', 'me'], one)
  assert.equal((await xpmem(['cat', 'me'], one)).code, 0)
  assert.equal((await xpmem(['cat', 'me'], two)).code, 1)
})

test('a client starts the service where the variables say, creating the directory', async (t) => {
  const runtimeDir = join(stage(t).runtimeDir, 'not', 'yet')
  const env = { XPMEM_RUNTIME_DIR: runtimeDir, XPMEM_PARTITION: 'red' }
  assert.equal((await xpmem(['ls'], { env })).code, 0)
  assert.ok(existsSync(join(runtimeDir, 'red.sock')))
  await endServices(runtimeDir)
})

/** What `runtimePaths` says to a user, in a process of its own. */
async function defaultDirectory(uid: number, env: Record<string, string>): Promise<string> {
  const module = new URL('../../src/runtime-directory.js', import.meta.url)
  const script = `const { runtimePaths } = await import('${module}')
    if (process.geteuid() !== ${uid}) process.seteuid(${uid})
    process.stdout.write(runtimePaths({}, 'test').directory)`
  const args = ['--input-type=module', '-e', script]
  const { code, stdout, stderr } = await run(process.execPath, args, { env: { XPMEM_RUNTIME_DIR: '', ...env } })
  assert.equal(code, 0, stderr)
  return stdout.toString()
}

test('the default directory of a user is XDG_RUNTIME_DIR/xpmem, or /tmp/xpmem-UID without it', async () => {
  const uid = process.getuid?.() || 65534
  assert.equal(await defaultDirectory(uid, { XDG_RUNTIME_DIR: '/run/user/1' }), '/run/user/1/xpmem')
  assert.equal(await defaultDirectory(uid, { XDG_RUNTIME_DIR: '' }), `/tmp/xpmem-${uid}`)
})

test('the default directory of root is /run/xpmem', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('only root can ask')
  assert.equal(await defaultDirectory(0, { XDG_RUNTIME_DIR: '/run/user/0' }), '/run/xpmem')
})
