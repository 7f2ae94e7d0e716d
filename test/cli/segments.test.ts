import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { cliPath } from '../support/service.js'
import { until } from '../support/until.js'
import { run, stage, xpmem } from './cli.js'

const pageBytes = 4096

interface Listed {
  segid: string
  name: string
  owner: { pid: number; uid: number; gid: number; command: string }
  length: number
  dataLength: number
  mode: number
  permits: number
  attachments: number | null
  memoryInUse: number
}

/** A service, and files and segments in its runtime directory. */
async function setUp(t: TestContext) {
  const { runtimeDir, start } = stage(t)
  await start(['serve', '--runtime-dir', runtimeDir])
  const where = ['--runtime-dir', runtimeDir]
  return {
    where,
    file(bytes: Uint8Array): string {
      const path = join(runtimeDir, `data-${randomBytes(4).toString('hex')}`)
      writeFileSync(path, bytes)
      return path
    },
    make: (path: string, ...args: string[]) => start(['make', ...where, path, ...args]),
    cat: (...args: string[]) => xpmem(['cat', ...where, ...args]),
    async list(): Promise<Listed[]> {
      const { code, stdout } = await xpmem(['ls', '--json', ...where])
      assert.equal(code, 0)
      return JSON.parse(stdout.toString()) as Listed[]
    },
  }
}

for (const size of [0, 1, 4095, 4096, 4097, 10_000_000]) {
  test(`cat gives exactly the bytes of a file of ${size}, by segid and by name`, async (t) => {
    const { file, make, cat } = await setUp(t)
    const bytes = randomBytes(size)
    const owner = await make(file(bytes), '--name', 'data')
    for (const segment of [owner.firstLine, 'data']) {
      const { code, stdout, stderr } = await cat(segment)
      assert.equal(stderr, '')
      assert.equal(code, 0)
      assert.ok(stdout.equals(bytes), `${stdout.length} bytes came, or not the same`)
    }
  })
}

test('cat gives the range that --offset and --length ask for, as far as there are data', async (t) => {
  const { file, make, cat } = await setUp(t)
  const bytes = randomBytes(3 * pageBytes + 100)
  const { firstLine: segid } = await make(file(bytes))
  const ranges: [number, number | undefined][] = [
    [0, 1],
    [0, 0],
    [1, 1],
    [pageBytes - 1, 2],
    [pageBytes, pageBytes],
    [5000, undefined],
    [bytes.length - 1, undefined],
    [bytes.length, undefined],
    [bytes.length - 10, 1000],
  ]
  for (const [offset, length] of ranges) {
    const { code, stdout } = await cat(
      segid,
      ...['--offset', `${offset}`],
      ...(length === undefined ? [] : ['--length', `${length}`]),
    )
    assert.equal(code, 0)
    assert.ok(
      stdout.equals(bytes.subarray(offset, length === undefined ? undefined : offset + length)),
      `--offset ${offset} --length ${length} gave ${stdout.length} bytes, or not the right ones`,
    )
  }
  const beyond = await cat(segid, '--offset', `${bytes.length + 1}`)
  assert.equal(beyond.code, 1)
  assert.match(beyond.stderr, /the segment has 12388 bytes of data \(EINVAL\)/)
})

test('cat sees what is in the segment now, also when it is called again', async (t) => {
  const { file, make, cat } = await setUp(t)
  const { firstLine: segid } = await make(file(Buffer.from('first')))
  assert.equal((await cat(segid)).stdout.toString(), 'first')
  assert.equal((await cat(segid)).stdout.toString(), 'first')
})

test('cat ends with 0 and says nothing when its reader goes', async (t) => {
  const { where, file, make } = await setUp(t)
  await make(file(randomBytes(10_000_000)), '--name', 'long')
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
  const script = '"$0" "$@" | head -c 1 | wc -c; echo "${PIPESTATUS[*]}"'
  const outcome = await run('bash', ['-c', script, process.execPath, cliPath, 'cat', ...where, 'long'])
  assert.equal(outcome.stdout.toString(), '1\n0 0 0\n')
  assert.equal(outcome.stderr, '')
})

test('cat of what is not there ends with 1 and a message on stderr', async (t) => {
  const { cat } = await setUp(t)
  for (const [segment, message] of [
    ['nowhere', /no segment is named 'nowhere' \(ENOENT\)/],
    ['0x0000000000000001', /no such segment.*\(ENOENT\)/],
    ['0x0', /EINVAL/],
    ['0xffffffffffffffff', /EINVAL/],
  ] as const) {
    const { code, stdout, stderr } = await cat(segment)
    assert.equal(code, 1)
    assert.equal(stdout.toString(), '')
    assert.match(stderr, message)
  }
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`make says the segid first and nothing else, and holds the segment until ${signal}`, async (t) => {
    const { file, make, cat, list } = await setUp(t)
    const owner = await make(file(Buffer.from('held')), '--name', 'held')
    assert.match(owner.firstLine, /^0x[0-9a-f]{16}$/)
    assert.equal((await cat('held')).stdout.toString(), 'held')
    assert.deepEqual(await owner.end(signal), { code: 0, signal: null })
    assert.equal(owner.said(), `${owner.firstLine}\n`)
    assert.deepEqual(await list(), [])
    assert.equal((await cat(owner.firstLine)).code, 1)
  })
}

test("make's segment goes when it is killed", async (t) => {
  const { file, make, list } = await setUp(t)
  const owner = await make(file(Buffer.from('held')))
  await owner.end('SIGKILL')
  await until(async () => (await list()).length === 0)
})

test('make refuses what is no file, a name that is taken and one that cannot be', async (t) => {
  const { where, file, make } = await setUp(t)
  const path = file(Buffer.from('x'))
  await make(path, '--name', 'taken')
  for (const [args, message] of [
    [['/nonexistent'], /ENOENT.*\/nonexistent/],
    [['/proc'], /\/proc is not a regular file \(EINVAL\)/],
    [[path, '--name', 'taken'], /a segment named 'taken' exists.*\(EEXIST\)/],
    [[path, '--name', 'a/b'], /no '\/' \(EINVAL\)/],
    [[path, '--name', '0x1'], /must not look like an identifier \(EINVAL\)/],
    [[path, '--name', 'n'.repeat(256)], /255 bytes at the most \(ENAMETOOLONG\)/],
  ] as const) {
    const outcome = await xpmem(['make', ...where, ...args])
    assert.equal(outcome.code, 1, args.join(' '))
    assert.equal(outcome.stdout.toString(), '')
    assert.match(outcome.stderr, message)
  }
})

test('ls --json tells segid, name, owner, sizes, mode, permits, attachments and memory', async (t) => {
  const { file, make, list } = await setUp(t)
  assert.deepEqual(await list(), [])
  const path = file(randomBytes(5000))
  const owner = await make(path, '--name', 'frames', '--mode', '0640')
  const [info, ...others] = (await list()) as [Listed, ...Listed[]]
  assert.deepEqual(others, [])
  const { command, ...who } = info.owner
  assert.deepEqual(who, { pid: owner.child.pid, uid: process.getuid?.(), gid: process.getgid?.() })
  assert.ok(command.includes('make') && command.includes(path))
  assert.deepEqual(
    { ...info, owner: undefined },
    {
      segid: owner.firstLine,
      name: 'frames',
      owner: undefined,
      length: 2 * pageBytes,
      dataLength: 5000,
      mode: 0o640,
      permits: 0,
      attachments: 0,
      memoryInUse: 2 * pageBytes,
    },
  )
})

test('ls prints one line a segment under a header, oldest first', async (t) => {
  const { where, file, make } = await setUp(t)
  const first = await make(file(randomBytes(5000)), '--name', 'frames', '--mode', '640')
  const second = await make(file(randomBytes(1)))
  const { code, stdout, stderr } = await xpmem(['ls', ...where])
  assert.equal(code, 0)
  assert.equal(stderr, '')
  const lines = stdout.toString().trimEnd().split('\n')
  assert.equal(lines.length, 3)
  assert.match(lines[0] as string, /^SEGID +NAME +PID +UID +MODE +SIZE +DATA +PERMITS +ATTACHED +IN USE +COMMAND$/)
  const uid = process.getuid?.()
  assert.match(
    lines[1] as string,
    new RegExp(
      `^${first.firstLine} +frames +${first.child.pid} +${uid} +0640 +8 KiB +4.9 KiB +0 +0 +8 KiB +.*xpmem|make`,
    ),
  )
  assert.match(
    lines[2] as string,
    new RegExp(`^${second.firstLine} +- +${second.child.pid} +${uid} +0600 +4 KiB +1 B +0 +0 +4 KiB +`),
  )
})
