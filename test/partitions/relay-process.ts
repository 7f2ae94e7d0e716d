/** A relay as a process of its own, in whatever network it is started: FROM TO DELAY, each of the first two HOST:PORT. */
import type { TestContext } from 'node:test'
import { type Address, parseAddress } from '../../src/xpc/directory.js'
import { Relay } from './relay.js'

const [from = '', to = '', delayMs] = process.argv.slice(2)
const untilKilled = { after: () => {} } as unknown as TestContext
await Relay.start(untilKilled, {
  from: parseAddress(from) as Address,
  to: parseAddress(to) as Address,
  delayMs: Number(delayMs),
})
console.log('ready')
