/**
 * Checks the format of all C code with clang-format; `--write` formats it in place.
 * native/core/wire.h is generated and left alone.
 */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Folders and the endings of the files in them that are checked. */
const folders = [
  { folder: 'native', pattern: /\.[ch]$/ },
  { folder: 'bench/limits', pattern: /\.c$/ },
  { folder: 'test/native', pattern: /\.[ch]$/ },
  { folder: 'test/conformance/c-actor', pattern: /\.[ch]$/ },
  { folder: 'test/libxpmem', pattern: /\.[ch]$/ },
]
const generated = join('native', 'core', 'wire.h')

function filesOf({ folder, pattern }) {
  let names
  try {
    names = readdirSync(join(root, folder), { recursive: true })
  } catch (error) {
    if (error.code === 'ENOENT') return []
    throw error
  }
  return names.filter((name) => pattern.test(name)).map((name) => join(folder, name))
}

const files = folders.flatMap(filesOf).filter((file) => file !== generated)
const mode = process.argv.includes('--write') ? ['-i'] : ['--dry-run', '-Werror']
const { error, status } = spawnSync('clang-format', [...mode, ...files], { cwd: root, stdio: 'inherit' })

if (error !== undefined) {
  const hint = error.code === 'ENOENT' ? 'clang-format is not installed (apt-get install clang-format)' : error.message
  console.error(`lint-c: ${hint}`)
  process.exit(2)
}
process.exit(status ?? 1)
