import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { until } from '../support/until.js'
import { endServices, servicesIn, stage, xpmem } from './cli.js'

test('serve says ready with the partition, its number and the socket, and takes clients from then on', async (t) => {
  const { runtimeDir, start } = stage(t)
  const service = await start(['serve', '--runtime-dir', runtimeDir, '--partition', 'blue', '--id', '7'])
  const socket = join(runtimeDir, 'blue.sock')
  assert.equal(service.firstLine, `ready partition=blue id=7 socket=${socket}`)
  const { code, stdout } = await xpmem(['ls', '--json', '--runtime-dir', runtimeDir, '--partition', 'blue'])
  assert.equal(code, 0)
  assert.deepEqual(JSON.parse(stdout.toString()), [])
  assert.equal(service.said(), `${service.firstLine}\n`)
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`serve ends with 0 at ${signal} and takes its socket along`, async (t) => {
    const { runtimeDir, start } = stage(t)
    const service = await start(['serve', '--runtime-dir', runtimeDir])
    const socket = join(runtimeDir, 'default.sock')
    assert.ok(existsSync(socket))
    assert.deepEqual(await service.end(signal), { code: 0, signal: null })
    assert.ok(!existsSync(socket))
  })
}

test('a second serve of the partition says so on stderr, ends with 3 and harms nothing', async (t) => {
  const { runtimeDir, start } = stage(t)
  const first = await start(['serve', '--runtime-dir', runtimeDir])
  const second = await xpmem(['serve', '--runtime-dir', runtimeDir])
  assert.equal(second.code, 3)
  assert.equal(second.stdout.toString(), '')
  assert.match(second.stderr, /partition 'default' has a service already/)
  assert.equal((await xpmem(['ls', '--runtime-dir', runtimeDir])).code, 0)
  assert.deepEqual(await first.end('SIGTERM'), { code: 0, signal: null })
})

test('two partitions have a service each in one directory', async (t) => {
  const { runtimeDir, start } = stage(t)
  await start(['serve', '--runtime-dir', runtimeDir, '--partition', 'one'])
  const two = await start(['serve', '--runtime-dir', runtimeDir, '--partition', 'two'])
  assert.match(two.firstLine, /^ready partition=two /)
})

test('after a service was killed the next one serves, although the socket is still there', async (t) => {
  const { runtimeDir, start } = stage(t)
  const first = await start(['serve', '--runtime-dir', runtimeDir])
  await first.end('SIGKILL')
  assert.ok(existsSync(join(runtimeDir, 'default.sock')))
  const second = await start(['serve', '--runtime-dir', runtimeDir])
  assert.match(second.firstLine, /^ready /)
  assert.equal((await xpmem(['ls', '--runtime-dir', runtimeDir])).code, 0)
})

test('serve --idle-exit leaves by itself, with 0 and without its socket', async (t) => {
  const { runtimeDir, start } = stage(t)
  const service = await start(['serve', '--runtime-dir', runtimeDir, '--idle-exit', '1'])
  assert.deepEqual(await service.exited, { code: 0, signal: null })
  assert.ok(!existsSync(join(runtimeDir, 'default.sock')))
})

test('serve --idle-exit stays while a client offers a segment, and leaves after it', async (t) => {
  const { runtimeDir, start } = stage(t)
  const busy = await start(['serve', '--runtime-dir', runtimeDir, '--partition', 'busy', '--idle-exit', '4'])
  const owner = await start(['make', '--runtime-dir', runtimeDir, '--partition', 'busy', process.execPath])
  // A service that began later and has no client is the clock.
  const idle = await start(['serve', '--runtime-dir', runtimeDir, '--partition', 'idle', '--idle-exit', '4'])
  await idle.exited
  assert.equal(busy.child.exitCode, null)
  await owner.end('SIGTERM')
  assert.deepEqual(await busy.exited, { code: 0, signal: null })
})

test('the first client starts a service that outlives it and leaves after 30 s without clients', async (t) => {
  const { runtimeDir } = stage(t)
  const { code, stdout } = await xpmem(['ls', '--json', '--runtime-dir', runtimeDir])
  assert.equal(code, 0)
  assert.equal(stdout.toString(), '[]\n')
  const services = servicesIn(runtimeDir)
  assert.equal(services.length, 1)
  const { words } = services[0] as (typeof services)[0]
  assert.deepEqual(words.slice(words.indexOf('--idle-exit')), ['--idle-exit', '30', ''])
  await endServices(runtimeDir)
  assert.ok(!existsSync(join(runtimeDir, 'default.sock')))
})

test('clients that start at once leave one service, which has them all', async (t) => {
  const { runtimeDir, start } = stage(t)
  const names = ['a', 'b', 'c', 'd']
  await Promise.all(names.map((name) => start(['make', '--runtime-dir', runtimeDir, '--name', name, process.execPath])))
  await until(() => servicesIn(runtimeDir).length === 1)
  const { stdout } = await xpmem(['ls', '--json', '--runtime-dir', runtimeDir])
  const segments = JSON.parse(stdout.toString()) as { name: string }[]
  assert.deepEqual(segments.map(({ name }) => name).sort(), names)
})

const refused: Record<string, { args: string[]; message: RegExp }> = {
  "a partition's number of 0": { args: ['--id', '0'], message: /number is 1 to 4095 \(EINVAL\)/ },
  "a partition's number of 4096": { args: ['--id', '4096'], message: /number is 1 to 4095 \(EINVAL\)/ },
  "a partition's name with a slash": { args: ['--partition', 'a/b'], message: /cannot name a partition.*\(EINVAL\)/ },
  "a partition's name that begins with a dot": { args: ['--partition', '.a'], message: /cannot name a partition/ },
  'a directory too long for a socket': {
    args: ['--runtime-dir', `/tmp/${'x'.repeat(120)}`],
    message: /choose a shorter runtime directory \(ENAMETOOLONG\)/,
  },
}

for (const [what, { args, message }] of Object.entries(refused)) {
  test(`serve refuses ${what} with 1 and a message on stderr`, async (t) => {
    const outcome = await xpmem(['serve', ...args], { env: { XPMEM_RUNTIME_DIR: stage(t).runtimeDir } })
    assert.equal(outcome.code, 1)
    assert.equal(outcome.stdout.toString(), '')
    assert.match(outcome.stderr, message)
  })
}

test('serve refuses a directory that others can write in', async (t) => {
  const directory = join(stage(t).runtimeDir, 'open')
  mkdirSync(directory)
  chmodSync(directory, 0o777)
  const outcome = await xpmem(['serve', '--runtime-dir', directory])
  assert.equal(outcome.code, 1)
  assert.match(outcome.stderr, /can be written by others.*\(EACCES\)/)
})

test('a client starts no service in a directory that others can write in', async (t) => {
  const directory = join(stage(t).runtimeDir, 'open')
  mkdirSync(directory)
  chmodSync(directory, 0o777)
  const outcome = await xpmem(['ls', '--runtime-dir', directory])
  assert.equal(outcome.code, 1)
  assert.match(outcome.stderr, /can be written by others/)
})
