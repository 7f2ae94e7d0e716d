import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asXpmemError } from '../../src/errors.js'
import { formatAddress, isLoopback, parseAddress, parsePeer, requireLoopback } from '../../src/xpc/directory.js'

test('an address is HOST:PORT, an IPv6 host in brackets, and is written as it was read', () => {
  for (const text of ['127.0.0.1:7000', 'localhost:0', '[::1]:65535', '[fd00::2]:1', 'host.example:80']) {
    const address = parseAddress(text)
    assert(address !== undefined, text)
    assert.equal(formatAddress(address), text)
  }
  assert.deepEqual(parseAddress('[::1]:7000'), { host: '::1', port: 7_000 })
})

test('what is no address is none', () => {
  const wrong = [
    '',
    ':',
    'host',
    'host:',
    ':80',
    'host:x',
    'host:-1',
    'host:65536',
    'host:123456',
    'host:80 ',
    ' host:80',
  ]
  const brackets = [
    '::1:80',
    '[::1]',
    '[::1]80',
    '[127.0.0.1]:80',
    '[zz]:80',
    '[]:80',
    '[::1%lo]:80',
    'a b:80',
    'a:b:80',
  ]
  for (const text of [...wrong, ...brackets]) assert.equal(parseAddress(text), undefined, `'${text}'`)
})

test('a peer is a name, or a name and where it listens', () => {
  assert.deepEqual(parsePeer('blue'), { name: 'blue', address: undefined })
  assert.deepEqual(parsePeer('blue=127.0.0.1:7'), { name: 'blue', address: { host: '127.0.0.1', port: 7 } })
  assert.deepEqual(parsePeer('a.b_c-d=[::1]:7')?.name, 'a.b_c-d')
  assert.deepEqual(parsePeer('x'.repeat(64))?.name.length, 64)
})

test('a peer without a name that a partition can have, or with an address that nobody can call, is none', () => {
  const names = ['', '=h:1', '.a', '.a=h:1', 'a/b', 'a/b=h:1', 'a b', 'ä', 'x'.repeat(65), 'a\n']
  const addresses = ['a=', 'a=h', 'a=h:0', 'a=:1', 'a=h:1 ']
  for (const text of [...names, ...addresses]) {
    assert.equal(parsePeer(text), undefined, `'${text}'`)
  }
})

test('127.0.0.0/8, ::1 and localhost are on this machine, and nothing that only looks so', () => {
  const on = (host: string) => isLoopback({ host, port: 1 })
  for (const host of ['127.0.0.1', '127.255.255.254', '::1', 'localhost']) assert(on(host), host)
  const elsewhere = ['0.0.0.0', '::', '128.0.0.1', '127.example', '127.0.0.1.example', '127.1', 'localhost.example']
  for (const host of [...elsewhere, '::ffff:10.0.0.1', '10.127.0.1', '192.0.2.2', '']) assert(!on(host), host)
})

test('one address among many that is not on this machine is refused by its name, unless that is wanted', () => {
  const addresses = [
    { host: '127.0.0.1', port: 1 },
    { host: '192.0.2.9', port: 7 },
  ]
  assert.throws(() => requireLoopback(addresses, false), {
    code: 'EPERM',
    message: /192\.0\.2\.9:7.*--insecure-plaintext/s,
  })
  requireLoopback(addresses, true)
  requireLoopback(addresses.slice(0, 1), false)
})

test('the reason why a host with several addresses cannot be reached names what each failed with', () => {
  const refused = new AggregateError([new Error('connect A'), new Error('connect B')])
  assert.equal(asXpmemError(refused, 'xpc').reason, 'connect A, connect B')
})
