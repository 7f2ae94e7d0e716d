import type { StartOptions } from '../peers/service.js'
import { attachFresh, placeOf } from '../support/far-place.js'
import { slope } from '../support/measure.js'
import { Peer } from '../support/peer.js'
import type { Row } from '../support/row.js'
import { Scope } from '../support/scope.js'
import { temporaryDirectory } from '../support/service.js'

const page = 4_096
const copiedBytes = 2 * 1024 ** 3
/** So much more between two readings; the first half is not read, so that all that does not grow is there. */
const stepBytes = copiedBytes / 16
/** Got at once. */
const pieceBytes = 256 * page
const machinePages = (10 * 1024 ** 3) / page

const loopback = '127.0.0.1'
const heartbeatMs = 1_000

/** Two partitions whose services can be asked how much they hold. */
async function startServices(scope: Scope) {
  const start = async (options: Omit<StartOptions, 'runtimeDir' | 'cacheBytes'>) => {
    const service = new Peer('service', scope)
    const runtimeDir = temporaryDirectory(scope)
    const listening = await service.call<{ port: number } | undefined>('start', {
      ...options,
      runtimeDir,
      cacheBytes: copiedBytes,
    } satisfies StartOptions)
    return { service, runtimeDir, partition: options.partition, port: listening?.port ?? 0 }
  }
  const home = await start({
    partition: 'home',
    partitionId: 1,
    partitions: {
      listen: { host: loopback, port: 0 },
      peers: [{ name: 'far', address: undefined }],
      trusted: ['far'],
      heartbeatMs,
    },
  })
  const far = await start({
    partition: 'far',
    partitionId: 2,
    partitions: { peers: [{ name: 'home', address: { host: loopback, port: home.port } }], trusted: [], heartbeatMs },
  })
  return { home, far }
}

/** What each service holds more for each page of a segment of zeros that comes to be in the far partition. */
async function measureServices(scope: Scope): Promise<{ home: number; far: number }> {
  const { home, far } = await startServices(scope)
  const place = await placeOf(scope, { home, far })
  const { attachment, end } = await attachFresh(place, copiedBytes, 'holes')
  const points = { home: [] as [number, number][], far: [] as [number, number][] }
  for (let bytes = 0; bytes < copiedBytes; bytes += pieceBytes) {
    if (bytes >= copiedBytes / 2 && bytes % stepBytes === 0) {
      points.home.push([bytes / page, await home.service.call<number>('usedBytes')])
      points.far.push([bytes / page, await far.service.call<number>('usedBytes')])
    }
    await attachment.prefetch(bytes, pieceBytes)
  }
  const { bytesIn } = await attachment.stats()
  if (bytesIn !== copiedBytes) throw new Error('not all pages have come to the far partition')
  await end()
  return { home: slope(points.home), far: slope(points.far) }
}

/** Bytes that both sides keep of each page. */
export async function measureTracked(suite: Scope): Promise<Row[]> {
  const scope = new Scope()
  suite.defer(() => scope.close())
  const { home, far } = await measureServices(scope)
  const cacheMachine = await new Peer('tracker', scope).call<number>('cache', machinePages)
  const homeMachine = await new Peer('tracker', scope).call<number>('home', machinePages)
  await scope.close()
  const common = { unit: 'bytes', target: { of: 'value', most: 8 } } as const
  return [
    { name: 'far service, a page of 2 GiB that it has a copy of', value: far, ...common },
    { name: 'home service, a page of 2 GiB that a copy was made of', value: home, ...common },
    { name: 'far service, state of a page of 10 GiB, all there to write', value: cacheMachine, ...common },
    { name: 'home service, state of a page of 10 GiB, all given to write', value: homeMachine, ...common },
  ]
}
