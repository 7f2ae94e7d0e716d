/**
 * Runs the whole suite and then looks whether it left anything behind: a process, a file, a socket.
 * `node scripts/test.mjs [name…]` runs the test files whose path contains one of the names. With
 * XPMEM_TEST_SANITIZE (address,undefined or thread) libxpmem and the C processes of the tests are
 * compiled so, and only the tests that have such processes run.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const suiteMinutes = 40
/** The runner's timeout is of files and of tests alike. */
const fileMinutes = 10
const wanted = process.argv.slice(2)

const sanitize = process.env.XPMEM_TEST_SANITIZE ?? ''

/** Test files that start C processes. */
const withC = /^(conformance|stress|partitions\/c\.|examples\/python)/

const files = readdirSync(join(root, 'dist/test'), { recursive: true })
  .filter((name) => name.endsWith('.test.js') && (wanted.length === 0 || wanted.some((part) => name.includes(part))))
  .filter((name) => sanitize === '' || /^(conformance\/(c|typescript-to-c)|stress)/.test(name))
  .map((name) => join(root, 'dist/test', name))
  .sort()
if (files.length === 0) {
  console.error(`no test file matches ${wanted.join(' ')}`)
  process.exit(1)
}

/** libxpmem and the C process that the tests drive. */
function buildC() {
  const args = ['-C', join(root, 'test/conformance/c-actor'), '--silent', `SANITIZE=${sanitize || 'none'}`]
  const { status, error } = spawnSync('make', args, { stdio: 'inherit' })
  if (error) throw error
  if (status !== 0) process.exit(status ?? 1)
}

if (files.some((name) => withC.test(relative(join(root, 'dist/test'), name)))) buildC()

// Everything the suite makes lies here, and every process it starts carries the mark.
const scratch = mkdtempSync(join(tmpdir(), 'xpmem-test-'))
const mark = `XPMEM_TEST_RUN=${scratch}`
const env = { ...process.env, TMPDIR: scratch, XPMEM_TEST_RUN: scratch }
for (const name of ['XPMEM_RUNTIME_DIR', 'XPMEM_PARTITION', 'XDG_RUNTIME_DIR']) delete env[name]

function leftProcesses() {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark)) return []
        if (/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))) return []
        return [{ pid: Number(pid), command: readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ') }]
      } catch {
        return []
      }
    })
}

function run() {
  const timeout = `--test-timeout=${fileMinutes * 60_000}`
  const options = ['--test', timeout, '--test-concurrency=2', '--test-reporter=spec', '--expose-gc']
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...options, ...files], { cwd: root, env, stdio: 'inherit' })
    const watchdog = setTimeout(() => {
      console.error(`the suite hangs after ${suiteMinutes} minutes; still running:`)
      for (const { pid, command } of leftProcesses()) console.error(`  ${pid} ${command}`)
      child.kill('SIGKILL')
    }, suiteMinutes * 60_000)
    child.once('exit', (code) => {
      clearTimeout(watchdog)
      resolve(code ?? 1)
    })
  })
}

const code = await run()
const processes = leftProcesses()
const leftFiles = readdirSync(scratch, { recursive: true })
for (const { pid, command } of processes) {
  console.error(`left running: ${pid} ${command}`)
  process.kill(pid, 'SIGKILL')
}
for (const name of leftFiles) console.error(`left in the scratch directory: ${name}`)
rmSync(scratch, { recursive: true, force: true })
const clean = processes.length === 0 && leftFiles.length === 0
console.log(clean ? 'nothing is left over' : 'the suite left something behind')
process.exit(code !== 0 ? code : clean ? 0 : 1)
