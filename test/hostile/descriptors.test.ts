import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { encodeOwn, type MessageInput } from '../../src/wire/codec.js'
import { access, type MessageName, makeFlag, maxDescriptors, protocolVersion, role } from '../../src/wire/schema.js'
import { devNull, memfd, memfdWithSeals, pipe, regularFile, sealGrow, sealShrink } from './files.js'
import { assertFailure, type Hostile, Scene } from './scene.js'

const length = 8192
const backed = { address: 0n, length, mode: 0o600, flags: makeFlag.backed }

/** Connects, says hello and sends a message with that many descriptors; prints what came back last. */
const manyDescriptors = `
import array, socket, sys
path, hello, message, count = sys.argv[1], bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3]), int(sys.argv[4])
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(path)
s.send(hello)
s.recv(65536)
s.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0] * count))])
try:
    print('answered' if s.recv(65536) else 'ended')
except ConnectionResetError:
    print('ended')
`

test('descriptors that are wrong, or come where none belong', async (t) => {
  const scene = await Scene.start(t)

  const wrong = (
    name: string,
    pick: (hostile: Hostile) => Promise<number[]> | number[],
    input: MessageInput<'make'> = {},
  ) =>
    scene.case(t, `a make with ${name} is EPROTO, and the connection goes on`, async (hostile) => {
      const client = await hostile.greeted()
      const descriptors = await pick(hostile)
      for (let times = 0; times < 3; times += 1) {
        assertFailure(await client.request('make', { ...backed, ...input }, descriptors), 'EPROTO')
      }
      const { readwrite, readonly } = memfd(hostile, length)
      assert.equal((await client.request('make', backed, [readwrite, readonly]))?.name, 'made')
    })

  await wrong('a pipe', pipe)
  await wrong('a regular file', regularFile)
  await wrong('/dev/null', devNull)
  await wrong('a socket', async (hostile) => [hostile.client().socket, hostile.client().socket])
  await wrong('a memfd without seals', (hostile) => memfdWithSeals(hostile, 0))
  await wrong('a memfd that may shrink', (hostile) => memfdWithSeals(hostile, sealGrow))
  await wrong('a memfd that may grow', (hostile) => memfdWithSeals(hostile, sealShrink))
  await wrong('a memfd whose seals can still change', (hostile) => memfdWithSeals(hostile, sealGrow | sealShrink))
  await wrong('a sealed memfd that is too short', (hostile) => {
    const { readwrite, readonly } = memfd(hostile, length / 2)
    return [readwrite, readonly]
  })
  await wrong('two different memfds', (hostile) => [memfd(hostile, length).readwrite, memfd(hostile, length).readonly])
  await wrong('a memfd read-only twice', (hostile) => {
    const { readonly } = memfd(hostile, length)
    return [readonly, readonly]
  })
  await wrong('a memfd writable twice', (hostile) => {
    const { readwrite } = memfd(hostile, length)
    return [readwrite, readwrite]
  })
  await wrong('a memfd in the wrong order', (hostile) => {
    const { readwrite, readonly } = memfd(hostile, length)
    return [readonly, readwrite]
  })
  await wrong('one descriptor', (hostile) => [memfd(hostile, length).readwrite])
  await wrong('three descriptors', (hostile) => {
    const { readwrite, readonly } = memfd(hostile, length)
    return [readwrite, readonly, readonly]
  })
  await wrong('two memfds where one is asked for', (hostile) =>
    [memfd(hostile, length), memfd(hostile, length)].flatMap(({ readwrite, readonly }) => [readwrite, readonly]),
  )
  await wrong('as many descriptors as a message takes', (hostile) =>
    Array.from({ length: maxDescriptors / 2 }, () => memfd(hostile, length)).flatMap(({ readwrite, readonly }) => [
      readwrite,
      readonly,
    ]),
  )
  await wrong('no descriptors', () => [])
  for (const fileOffset of [1, 4096, length, 2 ** 53 - 4096]) {
    await wrong(
      `a range that begins at byte ${fileOffset} of its memfd`,
      (hostile) => {
        const { readwrite, readonly } = memfd(hostile, length)
        return [readwrite, readonly]
      },
      { fileOffset },
    )
  }

  await scene.case(t, 'descriptors with memory that is in no file are EPROTO', async (hostile) => {
    const client = await hostile.greeted()
    const { readwrite, readonly } = memfd(hostile, length)
    assertFailure(await client.request('make', { ...backed, flags: 0 }, [readwrite, readonly]), 'EPROTO')
    assert.equal((await client.request('ping', {}))?.name, 'done')
  })

  await scene.case(t, 'right descriptors with a make that is refused are let go of', async (hostile) => {
    const client = await hostile.greeted()
    const { readwrite, readonly } = memfd(hostile, length)
    for (const bad of [{ mode: 0o1000 }, { length: 3 }, { text: 'a/b' }, { text: 'innocent' }, { segid: 7n }]) {
      const answer = await client.request('make', { ...backed, ...bad }, [readwrite, readonly])
      assertFailure(answer, 'EINVAL', 'EEXIST', 'EACCES')
    }
  })

  const others: MessageName[] = [
    'get',
    'describe',
    'restore',
    'attach',
    'release',
    'remove',
    'list',
    'ping',
    'extents',
    'welcome',
  ]
  for (const name of others) {
    await scene.case(t, `descriptors with a ${name} end the connection and are closed`, async (hostile) => {
      const client = await hostile.greeted()
      const { readwrite } = memfd(hostile, length)
      client.send(name, 5, { access: access.read } as never, Array(maxDescriptors).fill(readwrite))
      assertFailure(await client.answer(5), 'EPROTO')
      await client.whenEnded()
    })
  }

  await scene.case(t, 'descriptors with a hello, a goodbye or an empty datagram are closed', async (hostile) => {
    const { readwrite } = memfd(hostile, length)
    const client = hostile.client()
    client.send('hello', 1, { version: protocolVersion, role: role.control }, [readwrite, readwrite])
    assert.equal((await client.answer(1))?.name, 'welcome')
    client.send('goodbye', 0, {}, [readwrite])
    assert.equal((await client.request('ping', {}))?.name, 'done')
    client.sendBytes(new Uint8Array(0), [readwrite])
    await client.whenEnded()
  })

  await scene.case(t, 'descriptors with garbage are closed', async (hostile) => {
    const { readwrite } = memfd(hostile, length)
    for (let times = 0; times < 5; times += 1) {
      const client = await hostile.greeted()
      client.sendBytes(Uint8Array.of(1, 2, 3), Array(maxDescriptors).fill(readwrite))
      await client.whenEnded()
    }
  })

  await scene.case(t, 'descriptors with what an agent says unasked are closed', async (hostile) => {
    const { readwrite } = memfd(hostile, length)
    const agent = await hostile.greeted(role.agent)
    for (const name of ['extents', 'done', 'held', 'armed', 'failure'] as const) {
      for (let times = 0; times < 5; times += 1) agent.send(name, times, {}, Array(maxDescriptors).fill(readwrite))
    }
    assert.equal((await (await hostile.greeted()).request('ping', {}))?.name, 'done')
    agent.poll()
    assert(!agent.ended)
  })

  for (const count of [maxDescriptors + 1, 200]) {
    await scene.case(t, `a make with ${count} descriptors ends that connection`, async () => {
      const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
      const hello = hex(encodeOwn('hello', 1, { version: protocolVersion, role: role.control }))
      const args = [scene.service.socket, hello, hex(encodeOwn('make', 2, backed)), String(count)]
      const { stdout, stderr } = spawnSync('python3', ['-c', manyDescriptors, ...args], { encoding: 'utf8' })
      assert.equal(stdout.trim(), 'ended', stderr)
    })
  }
})
