import assert from 'node:assert/strict'
import { chmodSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { loadKey, Tokens } from '../../src/service/tokens.js'
import { Random } from './random.js'
import { scratch } from './scratch.js'

const tokens = new Tokens(new Uint8Array(32).fill(1))
const facts = [5n, 1234, 99n, 1000]

test('a token is good for the facts it was given for, also after a restart', () => {
  const token = tokens.sign('segment', facts)
  assert(tokens.verify(token, 'segment', facts))
  assert(new Tokens(new Uint8Array(32).fill(1)).verify(token, 'segment', facts))
})

test('a token is good for no other facts, kind or key', () => {
  const token = tokens.sign('segment', facts)
  assert(!tokens.verify(token, 'permit', facts))
  assert(!new Tokens(new Uint8Array(32).fill(2)).verify(token, 'segment', facts))
  facts.forEach((_, index) => {
    const changed = facts.map((fact, other) => (other === index ? BigInt(fact) + 1n : fact))
    assert(!tokens.verify(token, 'segment', changed))
  })
  assert(!tokens.verify(token, 'segment', facts.slice(1)))
  assert(!tokens.verify(token, 'segment', [51n, 234, 99n, 1000]), 'facts do not run into each other')
})

test('a token with any one bit changed is refused', () => {
  const token = tokens.sign('permit', facts)
  for (let bit = 0n; bit < 64n; bit += 1n) {
    assert(!tokens.verify({ ...token, high: token.high ^ (1n << bit) }, 'permit', facts))
    assert(!tokens.verify({ ...token, low: token.low ^ (1n << bit) }, 'permit', facts))
  }
})

test('guessed tokens are refused', () => {
  const random = new Random(4)
  for (let guess = 0; guess < 1_000; guess += 1) {
    assert(!tokens.verify({ high: random.u64(), low: random.u64() }, 'segment', facts))
  }
  for (const half of [0n, 2n ** 64n - 1n]) assert(!tokens.verify({ high: half, low: half }, 'segment', facts))
})

test('a key is made once, for its user only, and stays', (t) => {
  const path = join(scratch(t), 'k')
  const key = loadKey(path)
  assert.equal(key.length, 32)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.deepEqual(loadKey(path), key)
  assert.notDeepEqual(loadKey(join(scratch(t), 'k')), key)
})

test('a key that others can read, of another length, or behind a link is refused', (t) => {
  const directory = scratch(t)
  const path = join(directory, 'k')
  const key = loadKey(path)
  for (const mode of [0o640, 0o604, 0o620]) {
    chmodSync(path, mode)
    assert.throws(() => loadKey(path), { code: 'EACCES' })
  }
  chmodSync(path, 0o600)
  symlinkSync(path, join(directory, 'link'))
  assert.throws(() => loadKey(join(directory, 'link')), { code: 'ELOOP' })
  for (const bytes of [key.subarray(1), Buffer.concat([key, key]), Buffer.alloc(0)]) {
    writeFileSync(path, bytes)
    assert.throws(() => loadKey(path), { code: 'EACCES' })
    assert.deepEqual(readFileSync(path), Buffer.from(bytes), 'it is not overwritten')
  }
})
