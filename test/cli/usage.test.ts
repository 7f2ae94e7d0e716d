import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { servicesIn, stage, xpmem } from './cli.js'

const commands = ['serve', 'make', 'cat', 'ls', 'doctor', 'demo']

test('--help of the whole names every command, both variables and the exit codes', async () => {
  const { code, stdout, stderr } = await xpmem(['--help'])
  assert.equal(code, 0)
  assert.equal(stderr, '')
  const text = stdout.toString()
  for (const command of commands) assert.match(text, new RegExp(`^  ${command}\\b`, 'm'))
  assert.match(text, /XPMEM_RUNTIME_DIR/)
  assert.match(text, /XPMEM_PARTITION/)
  assert.match(text, /Exit codes: 0 .* 1 .* 2 .* 3 /)
})

for (const command of commands) {
  test(`${command} --help tells its usage on stdout and ends with 0`, async () => {
    const { code, stdout, stderr } = await xpmem([command, '--help'])
    assert.equal(code, 0)
    assert.equal(stderr, '')
    assert.match(stdout.toString(), new RegExp(`^Usage: xpmem ${command}\\b`))
  })
}

test('the options that the commands have are in their help', async () => {
  const options: Record<string, string[]> = {
    serve: ['--partition', '--runtime-dir', '--id', '--idle-exit'],
    make: ['--partition', '--runtime-dir', '--name', '--mode'],
    cat: ['--partition', '--runtime-dir', '--offset', '--length'],
    ls: ['--partition', '--runtime-dir', '--json'],
    doctor: ['--json'],
  }
  for (const [command, expected] of Object.entries(options)) {
    const text = (await xpmem([command, '--help'])).stdout.toString()
    for (const option of expected) assert.ok(text.includes(option), `${command} --help does not tell of ${option}`)
  }
  assert.match((await xpmem(['make', '--help'])).stdout.toString(), /default: 0600/)
})

test('--version is that of the package', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  const { code, stdout } = await xpmem(['--version'])
  assert.equal(code, 0)
  assert.equal(stdout.toString(), `${version}\n`)
})

const wrong: Record<string, string[]> = {
  'no command': [],
  'an unknown command': ['share'],
  'an unknown option': ['ls', '--all'],
  'a missing argument': ['cat'],
  'an argument too many': ['ls', 'frames'],
  'an offset that is no number': ['cat', 'frames', '--offset', 'two'],
  'a negative length': ['cat', 'frames', '--length=-1'],
  'a mode that is not octal': ['make', 'file', '--mode', '0800'],
  'a mode with more than permission bits': ['make', 'file', '--mode', '04755'],
  'an idle time that is no number': ['serve', '--idle-exit', 'soon'],
}

for (const [what, args] of Object.entries(wrong)) {
  test(`${what} is told on stderr, ends with 2 and starts no service`, async (t) => {
    const { runtimeDir } = stage(t)
    const { code, stdout, stderr } = await xpmem(args, { env: { XPMEM_RUNTIME_DIR: runtimeDir } })
    assert.equal(code, 2)
    assert.equal(stdout.toString(), '')
    assert.notEqual(stderr, '')
    assert.deepEqual(servicesIn(runtimeDir), [])
  })
}
