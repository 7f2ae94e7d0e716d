import { setTimeout as sleep } from 'node:timers/promises'
import { kernel, metaLength } from '../../src/kernel/index.js'
import { datagramBytes, maxDatagram } from '../support/datagram.js'
import { alternate, medianOf } from '../support/measure.js'
import { Peer } from '../support/peer.js'
import { pinToOneProcessor } from '../support/pin.js'
import type { Row } from '../support/row.js'
import type { Scope } from '../support/scope.js'
import { openPartition, startService, temporaryDirectory } from '../support/service.js'
import type { Suite } from '../support/suite.js'

const rounds = 7
const operations = 3_000

async function connectEcho(scope: Scope): Promise<number> {
  const path = `${temporaryDirectory(scope)}/echo`
  const listener = kernel.listen(path, 1)
  await new Peer('echo', scope).call('connect', path)
  let socket = kernel.accept(listener)
  while (socket < 0) {
    await sleep(1)
    socket = kernel.accept(listener)
  }
  kernel.close(listener)
  scope.defer(() => kernel.close(socket))
  return socket
}

/** A datagram to a process that sends it back: bare system calls and the event loop, no more. */
async function roundTrip(scope: Scope): Promise<() => Promise<void>> {
  const socket = await connectEcho(scope)
  const message = new Uint8Array(datagramBytes)
  const buffer = new Uint8Array(maxDatagram)
  const meta = new Int32Array(metaLength)
  let arrived = () => {}
  const poll = kernel.poll(socket, () => {
    if (kernel.receive(socket, buffer, meta) > 0) arrived()
  })
  scope.defer(() => poll.close())
  poll.start(1)
  poll.ref()
  return () =>
    new Promise<void>((resolve) => {
      arrived = resolve
      kernel.send(socket, message, message.length, [])
    })
}

export const permit: Suite = {
  name: 'permit',
  about: 'get and release, against a bare SOCK_SEQPACKET round trip between two Node processes',
  async run(scope): Promise<Row[]> {
    pinToOneProcessor(scope)
    const service = await startService(scope)
    const owner = new Peer('owner', scope)
    await owner.call('open', service.runtimeDir)
    const segid = await owner.call<bigint>('offer', 4_096, false)
    const partition = await openPartition(service, scope)
    const once = async () => {
      const got = await partition.get(segid)
      await got.release()
    }
    const bare = await roundTrip(scope)
    const pairs = await alternate(
      rounds,
      () => medianOf(operations, once),
      () => medianOf(operations, bare),
    )
    const target = { of: 'ratio', most: 3 } as const
    return [{ name: 'get + release / one bare round trip', unit: 'seconds', ...pairs, target }]
  },
}
