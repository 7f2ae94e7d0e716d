/** A child that has inherited every descriptor of its parent: it uses them and exits, or outlives the parent. */
import { readdirSync, readSync, writeSync } from 'node:fs'
import { kernel } from '../../src/kernel/index.js'
import { encodeOwn } from '../../src/wire/codec.js'

/** Says goodbye in the parent's name on what are its sockets, and reads what are its files. */
function use(descriptor: number): void {
  const goodbye = encodeOwn('goodbye', 0, {})
  try {
    kernel.send(descriptor, goodbye, goodbye.length, [])
  } catch {
    // Not a socket, or not one to send on.
  }
  try {
    readSync(descriptor, new Uint8Array(16), 0, 16, 0)
  } catch {
    // Not a file.
  }
}

const inherited = readdirSync('/proc/self/fd')
  .map(Number)
  .filter((number) => number > 2)
if (process.argv[2] === 'use-and-exit') {
  inherited.forEach(use)
} else {
  writeSync(1, 'ready')
  setInterval(() => {}, 60_000)
}
