import assert from 'node:assert/strict'
import { chmodSync, chownSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { env, getuid } from 'node:process'
import { type TestContext, test } from 'node:test'
import { checkRuntimeDirectory, ensureRuntimeDirectory, runtimePaths } from '../../src/runtime-directory.js'
import { scratch } from './scratch.js'

const isRoot = getuid?.() === 0

/** Sets environment variables for one test. */
function environment(t: TestContext, values: Record<string, string | undefined>): void {
  for (const [name, value] of Object.entries(values)) {
    const before = env[name]
    if (value === undefined) delete env[name]
    else env[name] = value
    t.after(() => {
      if (before === undefined) delete env[name]
      else env[name] = before
    })
  }
}

test('the paths of a partition lie in the directory that was asked for', () => {
  assert.deepEqual(runtimePaths({ runtimeDir: '/a/b', partition: 'p.1' }, 'open'), {
    directory: '/a/b',
    partition: 'p.1',
    socket: '/a/b/p.1.sock',
    lock: '/a/b/p.1.lock',
    key: '/a/b/p.1.key',
    incarnation: '/a/b/p.1.incarnation',
    isDefault: false,
  })
})

test('an option counts before XPMEM_RUNTIME_DIR and XPMEM_PARTITION, and these before the defaults', (t) => {
  environment(t, { XPMEM_RUNTIME_DIR: '/from/env', XPMEM_PARTITION: 'envy', XDG_RUNTIME_DIR: '/xdg' })
  assert.equal(runtimePaths({}, 'open').socket, '/from/env/envy.sock')
  assert.equal(runtimePaths({ runtimeDir: '/option', partition: 'mine' }, 'open').socket, '/option/mine.sock')
  environment(t, { XPMEM_RUNTIME_DIR: '', XPMEM_PARTITION: '' })
  const { directory, partition, isDefault } = runtimePaths({}, 'open')
  assert.deepEqual([partition, isDefault], ['default', true])
  assert.equal(directory, isRoot ? '/run/xpmem' : '/xdg/xpmem')
})

test('a relative directory is the same one after a change of the working directory', () => {
  assert.equal(runtimePaths({ runtimeDir: 'here' }, 'open').directory, join(process.cwd(), 'here'))
})

for (const name of ['', '.', '..', '.hidden', 'a/b', '../up', 'a b', 'a\0b', 'ä', 'x'.repeat(65), 'a\n']) {
  test(`${JSON.stringify(name)} cannot name a partition`, () => {
    assert.throws(() => runtimePaths({ runtimeDir: '/r', partition: name }, 'open'), { code: 'EINVAL', call: 'open' })
  })
}

test('a name of 64 letters, digits, dots, underscores and hyphens can', () => {
  for (const name of ['x'.repeat(64), '-', '_', 'a..b', '0']) {
    assert.equal(runtimePaths({ runtimeDir: '/r', partition: name }, 'open').partition, name)
  }
})

test('a socket path of 107 bytes is the longest; letters of two bytes count twice', () => {
  const rest = '/p.sock'.length
  const fits = `/${'d'.repeat(107 - rest - 1)}`
  assert.equal(runtimePaths({ runtimeDir: fits, partition: 'p' }, 'open').socket.length, 107)
  for (const long of [`${fits}d`, `/${'ä'.repeat(51)}`]) {
    assert.throws(() => runtimePaths({ runtimeDir: long, partition: 'p' }, 'serve'), {
      code: 'ENAMETOOLONG',
      call: 'serve',
    })
  }
})

test('a directory that is missing is made for its user only', (t) => {
  const directory = join(scratch(t), 'new')
  ensureRuntimeDirectory(runtimePaths({ runtimeDir: directory }, 'serve'), 'serve')
  assert.equal(statSync(directory).mode & 0o777, 0o700)
  ensureRuntimeDirectory(runtimePaths({ runtimeDir: directory }, 'serve'), 'serve')
})

test('a directory that others can write in is refused', (t) => {
  const directory = join(scratch(t), 'd')
  mkdirSync(directory)
  const paths = runtimePaths({ runtimeDir: directory }, 'serve')
  for (const mode of [0o777, 0o770, 0o720, 0o702, 0o1777]) {
    chmodSync(directory, mode)
    assert.throws(() => ensureRuntimeDirectory(paths, 'serve'), { code: 'EACCES' }, mode.toString(8))
  }
  for (const mode of [0o755, 0o700]) {
    chmodSync(directory, mode)
    ensureRuntimeDirectory(paths, 'serve')
  }
})

test('a client that looks at a directory makes none, and refuses what the service would', (t) => {
  const directory = join(scratch(t), 'd')
  const paths = runtimePaths({ runtimeDir: directory }, 'open')
  checkRuntimeDirectory(paths, 'open')
  assert(!existsSync(directory))
  mkdirSync(directory)
  chmodSync(directory, 0o777)
  assert.throws(() => checkRuntimeDirectory(paths, 'open'), { code: 'EACCES', call: 'open' })
})

test('a link, and what is no directory, is refused', (t) => {
  const parent = scratch(t)
  mkdirSync(join(parent, 'real'), { mode: 0o700 })
  symlinkSync(join(parent, 'real'), join(parent, 'link'))
  writeFileSync(join(parent, 'file'), '')
  const refused = (name: string) =>
    assert.throws(() => ensureRuntimeDirectory(runtimePaths({ runtimeDir: join(parent, name) }, 'serve'), 'serve'))
  refused('link')
  refused('file')
})

test("somebody else's directory is refused", { skip: isRoot ? false : 'needs root' }, (t) => {
  const directory = join(scratch(t), 'd')
  mkdirSync(directory, { mode: 0o700 })
  chownSync(directory, 12_345, 12_345)
  const paths = runtimePaths({ runtimeDir: directory }, 'serve')
  assert.throws(() => ensureRuntimeDirectory(paths, 'serve'), { code: 'EACCES', message: /belongs to uid 12345/ })
})
