/** C programs over libxpmem, with the real service. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { geteuid } from 'node:process'
import { after, type TestContext, test } from 'node:test'
import { Partition } from '../../src/index.js'
import { endServices, run, servicesIn, stage } from '../cli/cli.js'
import { openToEverybody } from '../support/actor.js'
import { cliPath, startService } from '../support/service.js'
import { until } from '../support/until.js'
import { builtPrefix, compileProgram, Program, root, starter } from './program.js'

const program = compileProgram({ after }, { include: join(builtPrefix, 'include'), lib: join(builtPrefix, 'lib') })

/** A runtime directory in which programs start the service by themselves. */
function place(t: TestContext) {
  const startProgram = starter(t)
  const { runtimeDir } = stage(t)
  return { runtimeDir, start: (env = {}) => startProgram(program, { XPMEM_RUNTIME_DIR: runtimeDir, ...env }) }
}

test('two programs share memory, and the first starts the service', async (t) => {
  const { runtimeDir, start } = place(t)
  const owner = start()
  const other = start()
  const segid = await owner.ask('offer from the owner')
  assert.match(segid, /^0x[0-9a-f]{16}$/)
  assert.equal(await other.ask(`open ${segid}`), 'from the owner')
  await other.ask('write from the other')
  assert.equal(await owner.ask('shown'), 'from the other')
  assert.equal(await other.ask('close'), 'closed')
  assert.deepEqual(
    servicesIn(runtimeDir).map(({ words }) => words.slice(1, -1)),
    [[cliPath, 'serve', '--partition', 'default', '--runtime-dir', runtimeDir, '--idle-exit', '30']],
  )
})

test('C and TypeScript share memory both ways', async (t) => {
  const { runtimeDir, start } = place(t)
  const owner = start()
  const segid = await owner.ask('offer from C')
  const partition = await Partition.open({ runtimeDir, autoStart: false })
  t.after(() => partition.close())
  const permit = await partition.get(segid, 'readwrite')
  const bytes = Buffer.from((await permit.attach()).buffer)
  assert.equal(bytes.toString('latin1', 0, 6), 'from C')
  bytes.write('from TypeScript\0')
  assert.equal(await owner.ask('shown'), 'from TypeScript')

  const region = partition.allocate(64 * 1024)
  Buffer.from(region).write('a region\0')
  const segment = await partition.make(region)
  assert.equal(await owner.ask(`open ${segment.segid.toString(16)}`), 'a region')
  await owner.ask('write and back')
  assert.equal(Buffer.from(region).toString('latin1', 0, 8), 'and back')
})

test('the version is told, or ENOENT where there is no service and no command', async (t) => {
  const { start } = place(t)
  assert.equal(await start({ XPMEM_COMMAND: '/nonexistent' }).ask('version'), `errno ${constants.errno.ENOENT}`)
  assert.equal(await start().ask('version'), '0x0000000000026005')
})

test('many programs that begin at the same time start one service', async (t) => {
  const { runtimeDir, start } = place(t)
  const command = join(runtimeDir, 'counting')
  const count = join(runtimeDir, 'count')
  writeFileSync(command, `#!/bin/sh\necho started >>'${count}'\nexec '${process.execPath}' '${cliPath}' "$@"\n`)
  chmodSync(command, 0o755)
  const programs = Array.from({ length: 12 }, () => start({ XPMEM_COMMAND: command }))
  const versions = await Promise.all(programs.map((one) => one.ask('version')))
  assert.deepEqual(new Set(versions), new Set(['0x0000000000026005']))
  assert.equal(readFileSync(count, 'utf8'), 'started\n')
})

test('a program that makes no call comes back to a service that was started again', async (t) => {
  const { runtimeDir, start } = place(t)
  // Nobody starts a service but the test.
  const quiet = { XPMEM_COMMAND: '/nonexistent' }
  const first = await startService(t, { runtimeDir })
  const owner = start(quiet)
  const segid = await owner.ask('offer still here')
  await first.end('SIGKILL')
  await startService(t, { runtimeDir })
  assert.equal(await start(quiet).ask(`open ${segid}`), 'still here')
})

test('programs that lose the service start the next one, and go on', async (t) => {
  const { runtimeDir, start } = place(t)
  const owner = start()
  const other = start()
  const segid = await owner.ask('offer before')
  assert.equal(await other.ask(`open ${segid}`), 'before')
  const [service] = servicesIn(runtimeDir)
  process.kill(service?.pid ?? 0, 'SIGKILL')
  assert.equal(await other.ask('close'), 'closed')
  assert.equal(await other.ask(`open ${segid}`), 'before')
  await other.ask('write after')
  assert.equal(await owner.ask('shown'), 'after')
  assert.equal(servicesIn(runtimeDir).length, 1)
})

test('a call that finds its service gone starts the next one', async (t) => {
  const { runtimeDir, start } = place(t)
  const asker = start()
  assert.equal(await asker.ask('version'), '0x0000000000026005')
  await endServices(runtimeDir)
  assert.equal(await asker.ask('version'), '0x0000000000026005')
})

test('what a program offered is gone when it ends', async (t) => {
  const { start } = place(t)
  const owner = start()
  const other = start()
  const segid = await owner.ask('offer soon gone')
  assert.equal(await other.ask(`open ${segid}`), 'soon gone')
  assert.equal(await owner.end(), 0)
  const third = start()
  await until(async () => (await third.ask(`open ${segid}`)) === `errno ${constants.errno.ENOENT}`)
  assert.equal(await other.ask('close'), 'closed')
})

test('a set-user-id program starts no service, which would run what its caller chose', async (t) => {
  if (geteuid?.() !== 0) return t.skip('NOT RUN: only root can make a program of another user')
  const [user, caller] = [65_533, 65_534]
  const { runtimeDir } = stage(t)
  openToEverybody(runtimeDir)
  for (const folder of ['lib', 'bin', 'path', 'traces']) mkdirSync(join(runtimeDir, folder))
  copyFileSync(join(builtPrefix, 'lib/libxpmem.so.0'), join(runtimeDir, 'lib/libxpmem.so.0'))
  writeFileSync(join(runtimeDir, 'bin/xpmem'), '#!/usr/bin/env node\n', { mode: 0o755 })
  const trace = join(runtimeDir, 'traces/started')
  writeFileSync(join(runtimeDir, 'path/node'), `#!/bin/sh\n: >'${trace}'\n`, { mode: 0o755 })
  chmodSync(join(runtimeDir, 'traces'), 0o777)
  const library = { include: join(builtPrefix, 'include'), lib: join(runtimeDir, 'lib') }
  const compiled = compileProgram(t, library)
  const risen = join(runtimeDir, 'program')
  copyFileSync(compiled, risen)
  chownSync(risen, user, user)
  chmodSync(risen, 0o4755)
  const as = ['--reuid', `${caller}`, '--regid', `${caller}`, '--clear-groups']
  const child = spawn('setpriv', [...as, risen], {
    env: { PATH: `${join(runtimeDir, 'path')}:${process.env.PATH}` },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const started = new Program(child)
  t.after(() => started.end())
  const version = await started.ask('version')
  const effective = /^Uid:\s+\d+\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]
  if (effective !== `${user}`) return t.skip('NOT RUN: there are no set-user-id programs in the temporary directory')
  assert.equal(version, `errno ${constants.errno.ENOENT}`)
  assert.equal(existsSync(trace), false)
})

test('make install fills a prefix that programs can be compiled against', async (t) => {
  const startProgram = starter(t)
  const { runtimeDir } = stage(t)
  const prefix = join(runtimeDir, 'prefix')
  const installed = await run('make', ['-s', '-C', join(root, 'native'), 'install', `PREFIX=${prefix}`])
  assert.equal(installed.code, 0, installed.stderr)
  assert.equal(readlinkSync(join(prefix, 'lib/libxpmem.so')), 'libxpmem.so.0')
  assert.match(readlinkSync(join(prefix, 'lib/libxpmem.so.0')), /^libxpmem\.so\.0\.\d+\.\d+\.\d+$/)
  assert.match(
    readFileSync(join(prefix, 'lib/pkgconfig/xpmem.pc'), 'utf8'),
    new RegExp(
      `^prefix=${prefix}\n(.*\n)*Libs: -L\\$\\{libdir\\} -lxpmem\nLibs\\.private: -pthread -ldl\nCflags: -I\\$\\{includedir\\}\n$`,
    ),
  )
  const program = compileProgram(t, { include: join(prefix, 'include'), lib: join(prefix, 'lib') })
  const started = startProgram(program, { XPMEM_RUNTIME_DIR: runtimeDir, XPMEM_COMMAND: cliPath })
  assert.equal(await started.ask('version'), '0x0000000000026005')

  const staged = await run('make', ['-s', '-C', join(root, 'native'), 'install', 'PREFIX=/usr', `DESTDIR=${prefix}`])
  assert.equal(staged.code, 0, staged.stderr)
  assert.ok(existsSync(join(prefix, 'usr/lib/libxpmem.a')) && existsSync(join(prefix, 'usr/include/xpmem.h')))
  assert.match(readFileSync(join(prefix, 'usr/lib/pkgconfig/xpmem.pc'), 'utf8'), /^prefix=\/usr\nlibdir=\/usr\/lib\n/)
})
