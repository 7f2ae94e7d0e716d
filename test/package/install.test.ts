/**
 * The package as people get it: packed, installed into an empty folder with install scripts refused,
 * and used there.
 */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { run, servicesIn, stage } from '../cli/cli.js'
import { compileProgram, starter } from '../libxpmem/program.js'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const prebuilds = `prebuilds/linux-${process.arch}`
const addon = `${prebuilds}/xpmem.napi.glibc.node`

// npm would leave a compile cache in the temporary directory.
const npmEnv = { NODE_DISABLE_COMPILE_CACHE: '1', npm_config_audit: 'false', npm_config_fund: 'false' }

async function npm(args: string[], cwd: string): Promise<string> {
  const { code, stdout, stderr } = await run('npm', args, { cwd, env: npmEnv })
  assert.equal(code, 0, stderr)
  return stdout.toString()
}

interface Packed {
  filename: string
  files: { path: string; mode: number }[]
}

async function pack(into: string): Promise<Packed> {
  // npm 12 tells a map of packages, older ones an array.
  const told = JSON.parse(await npm(['pack', '--json', '--ignore-scripts', '--pack-destination', into], root)) as object
  return Object.values(told)[0] as Packed
}

/** An empty folder with the package installed in it, inside of a runtime directory. */
async function install(t: TestContext): Promise<{ runtimeDir: string; folder: string }> {
  const { runtimeDir } = stage(t)
  const folder = join(runtimeDir, 'app')
  mkdirSync(folder)
  writeFileSync(join(folder, 'package.json'), '{ "name": "app", "private": true, "type": "module" }')
  const { filename } = await pack(runtimeDir)
  await npm(['install', '--ignore-scripts', '--prefer-offline', join(runtimeDir, filename)], folder)
  return { runtimeDir, folder }
}

test('the package holds what runs, the prebuilt addon and libxpmem, the documents, and nothing else', async (t) => {
  const { files } = await pack(stage(t).runtimeDir)
  const paths = files.map(({ path }) => path)
  for (const path of [
    'package.json',
    'README.md',
    'LICENSE',
    addon,
    `${prebuilds}/libxpmem.so.0`,
    `${prebuilds}/xpmem.h`,
    'dist/src/index.js',
    'dist/src/index.d.ts',
    'dist/src/cli/main.js',
    'docs/README.md',
    'examples/share-frames.ts',
  ]) {
    assert.ok(paths.includes(path), `${path} is not in the package`)
  }
  const known =
    /^(package\.json|README\.md|LICENSE|dist\/src\/.*|prebuilds\/.*\/(xpmem.*\.node|libxpmem\.so\.0|xpmem\.h)|docs\/.*|examples\/.*\.(ts|py))$/
  assert.deepEqual(
    paths.filter((path) => !known.test(path)),
    [],
  )
})

const owner = `
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { formatId, Partition } from 'xpmem'

await using partition = await Partition.open()
const region = Partition.copyOf(new TextEncoder().encode('from the owner'))
await using segment = await partition.make(region)
const consumer = fork('./consumer.mjs', [formatId(segment.segid)])
const [code] = await once(consumer, 'exit')
const bytes = new Uint8Array(region)
const maps = readFileSync('/proc/self/maps', 'utf8')
console.log(JSON.stringify({
  code,
  text: Buffer.from(bytes.subarray(0, 14)).toString(),
  addons: [...new Set(maps.match(/\\S+\\.node$/gm))],
}))
`

const consumer = `
import { Partition } from 'xpmem'

await using partition = await Partition.open()
await using permit = await partition.get(process.argv[2], 'readwrite')
using attachment = await permit.attach()
const bytes = Buffer.from(attachment.buffer)
if (bytes.toString('utf8', 0, 14) !== 'from the owner') process.exit(1)
bytes.write('from the other')
`

/** \`using\` as what Node 20 understands. */
function withoutUsing(script: string): string {
  return script.replaceAll(/(await )?using (\w+) =/g, 'const $2 =').concat('await partition.close()\n')
}

test('installed with scripts refused it shares memory, with the prebuilt addon', async (t) => {
  const { runtimeDir, folder } = await install(t)
  writeFileSync(join(folder, 'owner.mjs'), withoutUsing(owner))
  writeFileSync(join(folder, 'consumer.mjs'), withoutUsing(consumer))
  const outcome = await run(process.execPath, ['owner.mjs'], { cwd: folder, env: { XPMEM_RUNTIME_DIR: runtimeDir } })
  assert.equal(outcome.stderr, '')
  assert.deepEqual(JSON.parse(outcome.stdout.toString()), {
    code: 0,
    text: 'from the other',
    addons: [join(folder, 'node_modules/xpmem', addon)],
  })
  // The service that it started is the installed one too.
  const [service] = servicesIn(runtimeDir)
  assert.ok(service?.words.includes(join(folder, 'node_modules/xpmem/dist/src/cli/main.js')))

  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  assert.equal(await npm(['exec', '--offline', '--', 'xpmem', '--version'], folder), `${version}\n`)
  const help = await run('npx', ['--offline', 'xpmem', '--help'], { cwd: folder, env: npmEnv })
  assert.equal(help.code, 0)
  assert.match(help.stdout.toString(), /^Usage: xpmem /)

  writeFileSync(join(folder, 'consumer.ts'), consumer.replace('process.argv[2]', "process.argv[2] ?? ''"))
  const options = '--noEmit --strict --module nodenext --target es2022 --lib es2023,esnext.disposable --types node'
  const tsc = join(root, 'node_modules/.bin/tsc')
  const typeRoots = join(root, 'node_modules/@types')
  const checked = await run(tsc, [...options.split(' '), '--typeRoots', typeRoots, 'consumer.ts'], { cwd: folder })
  assert.equal(checked.code, 0, checked.stdout.toString())
})

test('installed, it serves C programs, which start its service', async (t) => {
  const startProgram = starter(t)
  const { runtimeDir, folder } = await install(t)
  const installed = join(folder, 'node_modules/xpmem')
  const library = join(installed, prebuilds)
  const program = compileProgram(t, { include: library, lib: library })
  const started = startProgram(program, { XPMEM_RUNTIME_DIR: runtimeDir })
  assert.equal(await started.ask('version'), '0x0000000000026005')
  const [service] = servicesIn(runtimeDir)
  assert.ok(service?.words.includes(join(installed, 'dist/src/cli/main.js')))
})
