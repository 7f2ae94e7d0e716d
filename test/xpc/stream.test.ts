import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { XpmemError } from '../../src/errors.js'
import { kernel } from '../../src/kernel/index.js'
import { Descriptor } from '../../src/transport/descriptor.js'
import { Stream } from '../../src/xpc/stream.js'
import { until } from '../support/until.js'

/** A stream, and the other end of its connection. */
async function pair(t: TestContext) {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const near = connect(port, '127.0.0.1')
  const [[other]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as [[Socket], unknown]
  let drained = 0
  let came = 0
  const ends: XpmemError[] = []
  const stream = new Stream(near, {
    room: () => ({ bytes: new Uint8Array(16), at: 0 }),
    came: (count) => {
      came += count
    },
    drained: () => {
      drained += 1
    },
    end: (why) => ends.push(why),
  })
  t.after(() => {
    stream.destroy()
    other.destroy()
    server.close()
  })
  return { stream, other, ends, drained: () => drained, came: () => came }
}

/** A memfd of so many bytes, each the number of its page. */
function numbered(pages: number): Descriptor {
  const file = new Descriptor(kernel.createFile(pages * kernel.pageSize))
  for (let page = 0; page < pages; page += 1) {
    const bytes = new Uint8Array(kernel.pageSize).fill(page)
    kernel.writeAt(file.number, page * kernel.pageSize, bytes, 0, bytes.length)
  }
  return file
}

const word = (text: string) => (into: Uint8Array, at: number) =>
  new TextEncoder().encodeInto(text, into.subarray(at)).written

function say(stream: Stream, text: string): void {
  stream.say(text.length, word(text))
}

/** Reads so many bytes. */
async function read(other: Socket, length: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let have = 0
  other.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    have += chunk.length
  })
  other.resume()
  await until(() => have >= length)
  return Buffer.concat(chunks)
}

const isOpen = (descriptor: number) => {
  try {
    kernel.inspect(descriptor)
    return true
  } catch {
    return false
  }
}

test('parts of files come where they were said, however slowly the other end reads', async (t) => {
  const { stream, other, drained } = await pair(t)
  const pages = 4_096
  const file = numbered(pages)
  other.pause()
  say(stream, 'first')
  const whole = { file, offset: 0, length: pages * kernel.pageSize }
  say(stream, 'second')
  stream.sayFile(whole)
  say(stream, 'third')
  say(stream, 'fourth')
  stream.sayFile({ file, offset: 3 * kernel.pageSize, length: kernel.pageSize })
  say(stream, 'fifth')
  stream.sayFile({ file, offset: 5 * kernel.pageSize, length: 2 * kernel.pageSize })
  say(stream, 'last')
  file.release()
  const length = 5 + 6 + whole.length + 5 + 6 + kernel.pageSize + 5 + 2 * kernel.pageSize + 4
  assert.equal(stream.waiting, length)
  // More than a connection takes before it is read.
  await until(() => stream.waiting < length)
  assert(stream.waiting > 0)
  const came = await read(other, length)
  const page = (number: number) => Buffer.alloc(kernel.pageSize, number)
  const parts = [
    Buffer.from('firstsecond'),
    ...Array.from({ length: pages }, (_, number) => page(number & 0xff)),
    Buffer.from('thirdfourth'),
    page(3),
    Buffer.from('fifth'),
    page(5),
    page(6),
    Buffer.from('last'),
  ]
  assert.equal(Buffer.compare(came, Buffer.concat(parts)), 0)
  await until(() => drained() === 1)
  assert.equal(isOpen(file.number), false, 'nobody uses the file any more')
})

test('what a file has lost comes as zeros', async (t) => {
  const { stream, other } = await pair(t)
  const file = numbered(2)
  say(stream, 'short')
  stream.sayFile({ file, offset: kernel.pageSize, length: 100 * kernel.pageSize })
  say(stream, 'end')
  const came = await read(other, 5 + 100 * kernel.pageSize + 3)
  assert.equal(came.subarray(0, 5).toString(), 'short')
  assert(came.subarray(5, 5 + kernel.pageSize).every((byte) => byte === 1))
  assert(came.subarray(5 + kernel.pageSize, -3).every((byte) => byte === 0))
  assert.equal(came.subarray(-3).toString(), 'end')
  file.release()
})

test('what a file has lost of a part that is copied comes as zeros, too', async (t) => {
  const { stream, other } = await pair(t)
  const file = numbered(2)
  say(stream, 'short')
  stream.sayFile({ file, offset: kernel.pageSize, length: 3 * kernel.pageSize })
  const came = await read(other, 5 + 3 * kernel.pageSize)
  assert(came.subarray(5, 5 + kernel.pageSize).every((byte) => byte === 1))
  assert(came.subarray(5 + kernel.pageSize).every((byte) => byte === 0))
  file.release()
})

test('parts that the other end may not have any more leave as zeros, whether they are copied or not', async (t) => {
  const { stream, other } = await pair(t)
  const file = numbered(4_096)
  let gone = false
  const part = (offset: number, length: number) => {
    const [from, bytes] = [offset * kernel.pageSize, length * kernel.pageSize]
    return { file, offset: from, length: bytes, isVoid: () => gone }
  }
  other.pause()
  stream.sayFile({ file, offset: 0, length: 4_096 * kernel.pageSize })
  stream.sayFile(part(1, 1))
  say(stream, 'between')
  stream.sayFile(part(2, 100))
  stream.sayFile({ file, offset: 3 * kernel.pageSize, length: kernel.pageSize })
  await until(() => stream.waiting < 4_196 * kernel.pageSize)
  gone = true
  const came = await read(other, 4_198 * kernel.pageSize + 7)
  const page = (number: number) => Buffer.alloc(kernel.pageSize, number)
  const expected = [page(0), Buffer.from('between'), ...Array.from({ length: 100 }, () => page(0)), page(3)]
  assert.equal(Buffer.compare(came.subarray(4_096 * kernel.pageSize), Buffer.concat(expected)), 0)
  file.release()
})

test('a stream that nothing is said on learns of a reset that came behind bytes, and says what it was', async (t) => {
  const { other, ends, came } = await pair(t)
  other.write('x'.repeat(40))
  other.resetAndDestroy()
  await until(() => ends.length > 0)
  assert.equal(came(), 40)
  assert.equal(ends[0]?.code, 'ECONNRESET')
  assert.match(String(ends[0]?.message), /connection reset by peer/i)
})

test('a stream that is destroyed lets go of the files that it had still to send', async (t) => {
  const { stream, other } = await pair(t)
  const file = numbered(1)
  other.pause()
  for (let part = 0; part < 10; part += 1) {
    say(stream, 'x')
    stream.sayFile({ file, offset: 0, length: kernel.pageSize })
  }
  file.release()
  assert.equal(isOpen(file.number), true)
  stream.destroy()
  assert.equal(isOpen(file.number), false)
})
