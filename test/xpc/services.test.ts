import assert from 'node:assert/strict'
import { constants } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { packId } from '../../src/ids.js'
import type { PartitionInfo } from '../../src/wire/partition-info.js'
import { access } from '../../src/wire/schema.js'
import { formatAddress } from '../../src/xpc/directory.js'
import { stage, xpmem } from '../cli/cli.js'
import { startActor } from '../support/actor.js'
import { startService } from '../support/service.js'
import { stop } from '../support/stop.js'
import { until } from '../support/until.js'
import { type Got, make, permitsOn, startPair, startSide, untilPartition, untilPermits } from './pair.js'
import { joined, listener, ownAddress } from './raw-peer.js'

const needsRoot = { skip: process.getuid?.() === 0 ? false : 'only root can be somebody else' }

test('serve says where it listens, the port that it was given if it asked for any', async (t) => {
  const { runtimeDir, start } = stage(t)
  const service = await start(['serve', '--runtime-dir', runtimeDir, '--listen', '127.0.0.1:0'])
  const socket = join(runtimeDir, 'default.sock')
  assert.match(
    service.firstLine,
    new RegExp(`^ready partition=default id=1 socket=${socket} listen=127\\.0\\.0\\.1:[1-9]\\d*$`),
  )
})

test('partitions --json tells of every peer, and the table the same', async (t) => {
  const { home, far } = await startPair(t)
  const where = ['--runtime-dir', far.service.runtimeDir, '--partition', 'far']
  await untilPartition(far.actor, 'home', ({ roundTripMs }) => roundTripMs !== null)
  const { code, stdout } = await xpmem(['partitions', '--json', ...where])
  assert.equal(code, 0)
  const [info, ...others] = JSON.parse(stdout.toString()) as PartitionInfo[]
  assert.deepEqual(others, [])
  const { since, roundTripMs, bytesIn, bytesOut, ...rest } = info as PartitionInfo
  assert.deepEqual(rest, {
    name: 'home',
    id: 1,
    address: formatAddress(home.address),
    state: 'active',
    reason: `connected to ${formatAddress(home.address)}`,
    pagesIn: 0,
    pagesOut: 0,
  })
  assert.equal(new Date(since).toISOString(), since)
  assert((roundTripMs ?? 0) > 0 && bytesIn > 0 && bytesOut > 0)
  const table = (await xpmem(['partitions', ...where])).stdout.toString()
  assert.match(table, /^NAME +ID +ADDRESS +STATE/)
  assert.match(table, new RegExp(`^home +1 +${formatAddress(home.address)} +active +\\d+\\.\\d\\d ms`, 'm'))
})

test('partitions of a service without peers is an empty array', async (t) => {
  const { runtimeDir, start } = stage(t)
  await start(['serve', '--runtime-dir', runtimeDir])
  assert.equal((await xpmem(['partitions', '--json', '--runtime-dir', runtimeDir])).stdout.toString(), '[]\n')
})

const exposed: Record<string, string[]> = {
  'a listener': ['--listen', '0.0.0.0:0'],
  'a peer': ['--peer', 'blue=192.0.2.77:7000'],
}

for (const [what, args] of Object.entries(exposed)) {
  test(`serve refuses ${what} that is not on this machine with 1, and says what to do`, async (t) => {
    const { runtimeDir } = stage(t)
    const outcome = await xpmem(['serve', '--runtime-dir', runtimeDir, ...args])
    assert.equal(outcome.code, 1)
    assert.equal(outcome.stdout.toString(), '')
    assert.match(outcome.stderr, /is not on this machine.*ssh -L.*--insecure-plaintext.*\(EPERM\)/)
  })
}

test('with --insecure-plaintext serve listens anywhere, and warns', async (t) => {
  const { runtimeDir } = stage(t)
  const args = ['--listen', '0.0.0.0:0', '--insecure-plaintext', '--idle-exit', '0']
  const outcome = await xpmem(['serve', '--runtime-dir', runtimeDir, ...args])
  assert.equal(outcome.code, 0)
  assert.match(outcome.stdout.toString(), / listen=0\.0\.0\.0:\d+\n$/)
  assert.match(outcome.stderr, /^xpmem: warning: --insecure-plaintext: anyone on the network can read and change/)
})

const wrongUsage: Record<string, string[]> = {
  'a listener without a port': ['--listen', '127.0.0.1'],
  'a listener that is no address': ['--listen', '::1:80'],
  'a peer without a name': ['--peer', '=127.0.0.1:1'],
  'a peer that listens at port 0': ['--peer', 'blue=127.0.0.1:0'],
  'a peer whose name no partition can have': ['--peer', 'a/b'],
  'a heartbeat of 9 ms': ['--heartbeat', '9'],
  'a heartbeat longer than an hour': ['--heartbeat', '3600001'],
  'a heartbeat that is no number': ['--heartbeat', 'often'],
}

for (const [what, args] of Object.entries(wrongUsage)) {
  test(`serve refuses ${what} with 2`, async (t) => {
    const { runtimeDir } = stage(t)
    const outcome = await xpmem(['serve', '--runtime-dir', runtimeDir, ...args])
    assert.equal(outcome.code, 2)
    assert.match(outcome.stderr, /error: option/)
  })
}

const impossible: Record<string, { args: string[]; message: RegExp }> = {
  'a peer given twice': { args: ['--peer', 'blue', '--peer', 'blue'], message: /peer 'blue' is given twice/ },
  'itself as a peer': { args: ['--peer', 'default'], message: /'default' is this partition itself/ },
  'trust in no peer': { args: ['--trust', 'blue'], message: /'blue' is to be trusted but is no peer: add --peer blue/ },
}

for (const [what, { args, message }] of Object.entries(impossible)) {
  test(`serve refuses ${what} with 1, and the partition can be served then`, async (t) => {
    const { runtimeDir, start } = stage(t)
    const outcome = await xpmem(['serve', '--runtime-dir', runtimeDir, ...args])
    assert.equal(outcome.code, 1)
    assert.match(outcome.stderr, message)
    await start(['serve', '--runtime-dir', runtimeDir])
  })
}

test('serve ends with 1 if its address is taken, and takes its socket along', async (t) => {
  const { runtimeDir, start } = stage(t)
  const taken = ownAddress()
  await listener(t, taken)
  const outcome = await xpmem(['serve', '--runtime-dir', runtimeDir, '--listen', formatAddress(taken)])
  assert.equal(outcome.code, 1)
  assert.match(outcome.stderr, /cannot listen on .*EADDRINUSE/)
  await start(['serve', '--runtime-dir', runtimeDir])
})

test('a service that ends at SIGTERM tells its peers, and ends with 0', async (t) => {
  const { home, far } = await startPair(t)
  await home.service.end('SIGTERM')
  assert.equal(home.service.child.exitCode, 0)
  await until(async () => {
    const { reason, state } = await untilPartition(far.actor, 'home', () => true)
    return state !== 'active' && /the service is closing|ECONNREFUSED|closed the connection/.test(reason)
  })
})

test('a stopped service is taken for gone after five heartbeats, and is a peer again when it goes on', async (t) => {
  const args = ['--heartbeat', '50']
  const { home, far } = await startPair(t, { homeArgs: args, farArgs: args })
  await stop(far.service.pid)
  const { reason } = await untilPartition(home.actor, 'far', ({ state }) => state === 'inactive')
  assert.equal(reason, 'nothing was heard of it for 5 heartbeats of 50 ms')
  far.service.child.kill('SIGCONT')
  await untilPartition(home.actor, 'far', ({ state }) => state === 'active')
  await untilPartition(far.actor, 'home', ({ state }) => state === 'active')
})

test('a far segment is got by name and by segid, each time with a permit of its home', async (t) => {
  const { home, far } = await startPair(t)
  const { segid } = await make(home.actor, { name: 'numbers', mode: 0o604 })
  const named = await far.actor.call<Got>('get', 'home/numbers', 'read')
  const numbered = await far.actor.call<Got>('get', segid, 'read')
  for (const got of [named, numbered]) assert.deepEqual([got.segid, got.length, got.dataLength], [segid, 8_192, 8_192])
  assert.notEqual(named.apid, numbered.apid)
  await untilPermits(home.actor, segid, 2)
  await far.actor.call('release', named.handle)
  await untilPermits(home.actor, segid, 1)
  await far.actor.call('release', numbered.handle)
  await untilPermits(home.actor, segid, 0)
})

test('a partition is no part of its own directory: its name before a slash, and its own segids, are here', async (t) => {
  const { home } = await startPair(t)
  const { segid } = await make(home.actor, { name: 'numbers' })
  assert.equal((await home.actor.call<Got>('get', 'home/numbers', 'read')).segid, segid)
})

test('a segment that a partition has from another is not passed on', async (t) => {
  const { home, far } = await startPair(t, { farArgs: ['--peer', 'third'] })
  const { segid } = await make(home.actor, { name: 'numbers', mode: 0o606 })
  await far.actor.call('get', 'home/numbers', 'read')
  const third = await joined(t, far.address, 'third', 3)
  third.send('get', 1, { segid, access: access.read })
  assert.match((await third.take('failure')).text, /made in another partition/)
  third.send('find', 2, { text: 'numbers' })
  assert.equal((await third.take('failure')).errno, constants.errno.ENOENT)
})

test('what is not there is ENOENT: a partition, a partition of a number, a name, a segid, a removed segment', async (t) => {
  const { home, far } = await startPair(t)
  const { handle, segid } = await make(home.actor, { name: 'numbers', mode: 0o606 })
  const got = await far.actor.call<Got>('get', segid, 'read')
  await home.actor.call('remove', handle)
  const keys = ['nowhere/numbers', 'home/none', 'home/', 'home/a/b', 'home/numbers', segid, segid + 7n]
  for (const key of [...keys, packId({ partition: 77, incarnation: 1, sequence: 1 })]) {
    await assert.rejects(far.actor.call('get', key), { code: 'ENOENT' }, `${key}`)
  }
  await far.actor.call('release', got.handle)
})

test('a far segment whose owner was killed is ENOENT', async (t) => {
  const { home, far } = await startPair(t)
  const owner = await startActor(t, { runtimeDir: home.service.runtimeDir, partition: 'home' })
  await make(owner, { name: 'numbers', mode: 0o606 })
  await far.actor.call('get', 'home/numbers', 'read')
  await owner.end()
  await until(() =>
    far.actor.call('get', 'home/numbers', 'read').then(
      () => false,
      (error) => error.code === 'ENOENT',
    ),
  )
})

test('a partition that does not answer, or is not there, is EHOSTUNREACH with the reason', async (t) => {
  const silent = ownAddress()
  await listener(t, silent)
  const peers = { mute: silent, nobody: ownAddress(), late: undefined }
  const { actor } = await startSide(t, { name: 'far', id: 2, peers })
  const unreachable = (name: string, message: RegExp) =>
    assert.rejects(actor.call('get', `${name}/x`), { code: 'EHOSTUNREACH', message })
  await Promise.all([
    unreachable('mute', /partition 'mute' is (activating|inactive)/),
    unreachable('nobody', /partition 'nobody' is inactive: .*ECONNREFUSED/),
    unreachable('late', /partition 'late' is inactive: it has not connected yet/),
  ])
  await assert.rejects(actor.call('get', packId({ partition: 77, incarnation: 1, sequence: 1 })), {
    code: 'EHOSTUNREACH',
  })
})

test('processes of a partition that is not trusted are others, even root', async (t) => {
  const { home, far } = await startPair(t)
  const { segid } = await make(home.actor, { mode: 0o604 })
  const closed = await make(home.actor, { mode: 0o660 })
  await far.actor.call('get', segid, 'read')
  const message = /mode 0604 does not allow it to others/
  await assert.rejects(far.actor.call('get', segid, 'readwrite'), { code: 'EACCES', message })
  await assert.rejects(far.actor.call('get', closed.segid, 'read'), { code: 'EACCES' })
  assert.equal(await permitsOn(home.actor, closed.segid), 0)
})

interface Who {
  readonly uid: number
  readonly gid: number
  readonly groups: number[]
}

/** Whether somebody afar may read and write a segment of uid 4001 and gid 4002. */
async function allowed(t: TestContext, mode: number, who: Who | undefined): Promise<[boolean, boolean]> {
  const { home, far } = await startPair(t, { homeArgs: ['--trust', 'far'] })
  const { runtimeDir } = home.service
  const owner = await startActor(t, { runtimeDir, partition: 'home', uid: 4_001, gid: 4_002, groups: [] })
  const { segid } = await make(owner, { mode })
  const asker =
    who === undefined
      ? far.actor
      : await startActor(t, { runtimeDir: far.service.runtimeDir, partition: 'far', ...who })
  const may = (access: string) =>
    asker.call('get', segid, access).then(
      () => true,
      (error) => {
        assert.equal(error.code, 'EACCES')
        return false
      },
    )
  return [await may('read'), await may('readwrite')]
}

const trusted: Record<string, { mode: number; who: Who | undefined; may: [boolean, boolean] }> = {
  'the owner itself': { mode: 0o400, who: { uid: 4_001, gid: 9, groups: [] }, may: [true, false] },
  'one of its group': { mode: 0o060, who: { uid: 4_003, gid: 4_002, groups: [] }, may: [true, true] },
  'one who has the group besides': { mode: 0o040, who: { uid: 4_003, gid: 9, groups: [8, 4_002] }, may: [true, false] },
  'somebody else': { mode: 0o660, who: { uid: 4_003, gid: 9, groups: [8] }, may: [false, false] },
  'one with CAP_IPC_OWNER': { mode: 0o000, who: undefined, may: [true, true] },
}

for (const [what, { mode, who, may }] of Object.entries(trusted)) {
  test(`a trusted partition's word on ${what} is taken`, needsRoot, async (t) => {
    assert.deepEqual(await allowed(t, mode, who), may)
  })
}

test("trust in one partition is no trust in another, nor the other's in this one", needsRoot, async (t) => {
  const { home, far } = await startPair(t, { farArgs: ['--trust', 'home'] })
  const { segid } = await make(home.actor, { mode: 0o600 })
  await assert.rejects(far.actor.call('get', segid, 'read'), { code: 'EACCES' })
})

const ends: Record<
  string,
  (far: { pid: number; call(name: string): Promise<unknown>; end(): Promise<void> }) => unknown
> = {
  'closes the partition': (actor) => actor.call('close'),
  exits: (actor) => actor.call('exit').catch(() => {}),
  'is killed': (actor) => actor.end(),
}

for (const [what, end] of Object.entries(ends)) {
  test(`permits of a process that ${what} end at home`, async (t) => {
    const { home, far } = await startPair(t)
    const { segid } = await make(home.actor, { mode: 0o606 })
    const asker = await startActor(t, { runtimeDir: far.service.runtimeDir, partition: 'far' })
    for (let count = 0; count < 3; count += 1) await asker.call('get', segid)
    await far.actor.call('get', segid)
    await untilPermits(home.actor, segid, 4)
    await end(asker)
    await untilPermits(home.actor, segid, 1)
  })
}

for (const signal of ['SIGTERM', 'SIGKILL', 'SIGSTOP'] as const) {
  test(`permits of a partition whose service gets ${signal} end at home`, async (t) => {
    const { home, far } = await startPair(t, { homeArgs: ['--heartbeat', '50'] })
    const { segid } = await make(home.actor, { mode: 0o606 })
    await far.actor.call('get', segid)
    await untilPermits(home.actor, segid, 1)
    far.service.child.kill(signal)
    await untilPermits(home.actor, segid, 0)
    await untilPartition(home.actor, 'far', ({ state }) => state === 'inactive')
  })
}

test('a permit that its home gives too late is given back', async (t) => {
  const args = ['--heartbeat', '60000']
  const { home, far } = await startPair(t, { homeArgs: args, farArgs: args })
  const { segid } = await make(home.actor, { mode: 0o606 })
  await stop(home.service.pid)
  await assert.rejects(far.actor.call('get', segid), { code: 'ETIMEDOUT', message: /did not answer within 5000 ms/ })
  home.service.child.kill('SIGCONT')
  await far.actor.call('get', segid)
  await untilPermits(home.actor, segid, 1)
})

test('a home that is restarted while its processes live gives permits again on the same segments', async (t) => {
  const { home, far } = await startPair(t)
  const { segid } = await make(home.actor, { name: 'numbers', mode: 0o606 })
  await far.actor.call('get', segid)
  await home.service.end('SIGKILL')
  const args = ['--id', '1', '--listen', formatAddress(home.address), '--peer', 'far']
  await startService(t, { runtimeDir: home.service.runtimeDir, partition: 'home', args })
  await until(() =>
    far.actor.call('get', 'home/numbers').then(
      () => true,
      (error) => {
        assert.match(error.code, /EHOSTUNREACH|ENOENT/)
        return false
      },
    ),
  )
  await untilPermits(home.actor, segid, 1)
})

test('of many that ask a home while its segments come back some are told to try again, and the others what there is', async (t) => {
  const home = await startSide(t, { name: 'home', id: 1, peers: { far: undefined } })
  await make(home.actor)
  const args = ['--id', '1', '--listen', formatAddress(home.address), '--peer', 'far']
  const { EAGAIN, ENOENT } = constants.errno
  const count = 2_000
  let { service } = home
  // Where the machine is slow they ask when the time for segments to come back is over.
  for (let told = new Set<number>(); !told.has(EAGAIN); ) {
    await service.end('SIGKILL')
    service = await startService(t, { runtimeDir: service.runtimeDir, partition: 'home', args })
    const far = await joined(t, home.address, 'far', 2)
    for (let request = 0; request < count; request += 1) far.send('find', request, { text: 'none' })
    await until(() => far.words.filter((word) => word === 'failure').length === count)
    told = new Set(far.received.map((answer) => (answer.name === 'failure' ? answer.errno : 0)))
    assert(told.has(ENOENT))
    assert(Array.from(told).every((errno) => errno === EAGAIN || errno === ENOENT))
    far.close()
  }
})

test('a hundred partitions are told at once', async (t) => {
  const peers = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`partition-${index}`, undefined]))
  const { actor } = await startSide(t, { name: 'hub', id: 1, peers })
  assert.equal((await actor.call<PartitionInfo[]>('partitions')).length, 100)
})
