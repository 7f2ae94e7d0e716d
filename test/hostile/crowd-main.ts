/**
 * Many connections from one process: `node crowd-main.js SOCKET COUNT`. Prints how many were welcomed,
 * refused and closed without a word, then holds them until its stdin ends.
 */
import { errnoOf } from '../../src/errors.js'
import { protocolVersion, role } from '../../src/wire/schema.js'
import { RawClient } from '../support/raw.js'
import { until } from '../support/until.js'

const [socket = '', count = ''] = process.argv.slice(2)
const clients: RawClient[] = []

/** A full backlog says EAGAIN: try again. */
async function connect(): Promise<RawClient> {
  let client: RawClient | undefined
  await until(() => {
    try {
      client = new RawClient(socket)
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      return false
    }
  })
  return client as RawClient
}

while (clients.length < Number(count)) {
  const client = await connect()
  client.send('hello', 1, { version: protocolVersion, role: role.control })
  clients.push(client)
}
const outcome = { welcome: 0, refused: 0, closed: 0 }
await until(() => {
  for (const client of clients) client.poll()
  return clients.every((client) => client.ended || client.received.length > 0)
})
for (const { received, ended } of clients) {
  const [first] = received
  if (first?.name === 'welcome') outcome.welcome += 1
  else if (first?.name === 'failure' && first.errno === errnoOf('EMFILE')) outcome.refused += 1
  else if (ended) outcome.closed += 1
}
process.stdout.write(`${JSON.stringify(outcome)}\n`)
process.stdin.resume()
process.stdin.once('end', () => process.exit())
