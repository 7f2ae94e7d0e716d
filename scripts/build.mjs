/**
 * Builds the native addon, libxpmem and the TypeScript. `node scripts/build.mjs [native|libxpmem|ts]`,
 * all by default. What the build needs and does not find is named before anything is tried.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { arch, availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  if (error) throw error
  if (status !== 0) process.exit(status ?? 1)
}

function found(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined
}

const tools = {
  compiler: [process.env.CC ?? 'cc', 'a C compiler (Debian: apt-get install gcc libc6-dev)'],
  make: ['make', 'make (Debian: apt-get install make)'],
  python: ['python3', 'python3, which node-gyp runs on (Debian: apt-get install python3)'],
}

function requireTools(...wanted) {
  const missing = wanted.filter(([command]) => !found(command))
  if (missing.length === 0) return
  for (const [command, what] of missing) console.error(`xpmem: '${command}' was not found: building needs ${what}`)
  process.exit(1)
}

function newest(directory, pattern) {
  return Math.max(
    ...readdirSync(directory, { recursive: true })
      .filter((name) => pattern.test(name))
      .map((name) => statSync(join(directory, name)).mtimeMs),
  )
}

const built = join(root, 'build/Release/xpmem.node')
const prebuilds = join(root, `prebuilds/linux-${arch()}`)

function nativeIsCurrent() {
  if (!existsSync(built)) return false
  const folders = ['native/core', 'native/addon'].map((folder) => newest(join(root, folder), /\.[ch]$/))
  const sources = Math.max(...folders, statSync(join(root, 'binding.gyp')).mtimeMs)
  return statSync(built).mtimeMs > sources
}

/** The headers that came with this Node, where they did; node-gyp downloads them otherwise. */
function ownHeaders() {
  const prefix = join(dirname(process.execPath), '..')
  return existsSync(join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : []
}

function buildNative() {
  if (!nativeIsCurrent()) {
    requireTools(tools.compiler, tools.make, tools.python)
    run(process.execPath, [require.resolve('node-gyp/bin/node-gyp.js'), 'rebuild', '--silent', ...ownHeaders()])
  }
  mkdirSync(prebuilds, { recursive: true })
  copyFileSync(built, join(prebuilds, 'xpmem.napi.glibc.node'))
}

/** After the addon, since node-gyp empties the build folder. A package has no links, so the library goes by its soname. */
function buildLibxpmem() {
  requireTools(tools.compiler, tools.make)
  run('make', ['--silent', '-C', 'native', `-j${availableParallelism()}`])
  mkdirSync(prebuilds, { recursive: true })
  copyFileSync(join(root, 'build/libxpmem/lib/libxpmem.so.0'), join(prebuilds, 'libxpmem.so.0'))
  copyFileSync(join(root, 'native/libxpmem/xpmem.h'), join(prebuilds, 'xpmem.h'))
}

function buildTypeScript() {
  rmSync(join(root, 'dist'), { recursive: true, force: true })
  run(join(root, 'node_modules/.bin/tsc'), ['-p', 'tsconfig.json'])
  chmodSync(join(root, 'dist/src/cli/main.js'), 0o755)
}

const what = process.argv[2] ?? 'all'
if (what === 'native' || what === 'all') buildNative()
if (what === 'libxpmem' || what === 'all') buildLibxpmem()
if (what === 'ts' || what === 'all') buildTypeScript()
