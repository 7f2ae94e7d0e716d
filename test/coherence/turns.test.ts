import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Home } from '../../src/coherence/home.js'
import { newHome } from './new-home.js'

/** Home stores to a page, and a node loads from it and stores to it, so many times. */
function takeTurns(home: Home, node: number, page: number, times: number) {
  for (let turn = 0; turn < times; turn += 1) {
    const now = turn * 1000
    home.read(node, page, 1, now)
    home.write(node, page, 1, now)
    home.fault(page, 'write', now)
    home.returned(node, page, 1, 'content', now)
  }
}

test('a page that was read and then written twice is given for writing to who reads it next, on proof', () => {
  const { home, said } = newHome(0)
  takeTurns(home, 1, 9, 1)
  said()
  home.read(2, 9, 1, 0)
  assert.equal(said().at(-1), 'data 9+1 to 2 shared')
  home.write(2, 9, 1, 0)
  said()
  home.read(3, 9, 1, 0)
  assert.deepEqual(said(), ['recall 9+1 to 2 absent'])
  home.returned(2, 9, 1, 'content', 0)
  assert.deepEqual(said(), ['install 9+1 0 protected', 'aside 9+1', 'data 9+1 to 3 clean', 'take 9+1'])
  assert.deepEqual(home.nodesWith(9), [3])
})

test('a page that turns are proved to be taken with is given for writing to nodes and to home, until it has to be proved again', () => {
  const { home, said } = newHome(0)
  takeTurns(home, 1, 9, 2)
  const gives = () => said().filter((line) => line.startsWith('data'))
  const given: string[] = []
  said()
  for (let turn = 0; turn < 8; turn += 1) {
    home.read(1 + (turn % 2), 9, 1, 0)
    if (turn > 0) home.returned(2 - (turn % 2), 9, 1, 'content', 0)
    given.push(...gives())
  }
  assert.deepEqual(
    given.map((line) => line.split(' ').at(-1)),
    ['clean', 'exclusive', 'exclusive', 'exclusive', 'exclusive', 'clean', 'exclusive', 'exclusive'],
  )
  home.fault(9, 'read', 0)
  assert.deepEqual(said(), ['recall 9+1 to 2 absent'])
  home.returned(2, 9, 1, 'content', 0)
  assert.deepEqual(said(), ['install 9+1 0 writable', 'wake 9+1'])
})

test('a page that comes back unchanged is shared with readers again, from what is aside', () => {
  const { home, said } = newHome(0)
  takeTurns(home, 1, 9, 2)
  home.read(1, 9, 1, 0)
  home.read(2, 9, 1, 0)
  said()
  home.returned(1, 9, 1, 'unchanged', 0)
  assert.deepEqual(said(), ['putBack 9+1 protected', 'data 9+1 to 2 shared'])
  home.read(3, 9, 1, 0)
  assert.deepEqual(said(), ['data 9+1 to 3 shared'])
})

test('a page that several wait for is given to read, whatever turns were taken with it', () => {
  const { home, said } = newHome(0)
  takeTurns(home, 1, 9, 2)
  home.write(3, 9, 1, 0)
  said()
  home.read(1, 9, 1, 0)
  home.read(2, 9, 1, 0)
  assert.deepEqual(said(), ['recall 9+1 to 3 absent'])
  home.returned(3, 9, 1, 'content', 0)
  assert.deepEqual(said(), ['install 9+1 0 protected', 'data 9+1 to 1 shared', 'data 9+1 to 2 shared'])
})

test('a page that three have to give up for a writer is not one that is taken turns with', () => {
  const { home, said } = newHome(0)
  takeTurns(home, 1, 9, 1)
  for (const node of [1, 2, 3]) home.read(node, 9, 1, 0)
  home.write(1, 9, 1, 0)
  for (const node of [2, 3]) home.invalidated(node, 9, 1, 0)
  home.fault(9, 'write', 0)
  home.returned(1, 9, 1, 'content', 0)
  takeTurns(home, 1, 9, 1)
  said()
  home.read(2, 9, 1, 0)
  assert.equal(said().at(-1), 'data 9+1 to 2 shared')
})

test('a node that may only read is never given a page for writing', () => {
  const { home, said } = newHome(0)
  takeTurns(home, 1, 9, 2)
  said()
  home.read(4, 9, 1, 0)
  assert.deepEqual(said(), ['protect 9+1', 'data 9+1 to 4 shared'])
})

test("a page that turns are taken with is not taken from home's thread before its time is over", () => {
  const { home, said } = newHome(2)
  takeTurns(home, 1, 9, 2)
  home.read(2, 9, 1, 5000)
  home.read(1, 9, 1, 5000)
  home.returned(2, 9, 1, 'content', 5000)
  home.fault(9, 'read', 5000)
  home.read(2, 9, 1, 5000)
  said()
  home.returned(1, 9, 1, 'content', 5000)
  assert.deepEqual(said(), ['install 9+1 0 protected', 'wake 9+1', 'data 9+1 to 2 shared'])
})

/** A page that was given for writing on proof to node 2, which asked to read; nobody else has it. */
function givenOnProof() {
  const { home, said } = newHome(0)
  takeTurns(home, 1, 9, 2)
  home.read(2, 9, 1, 0)
  assert.equal(said().at(-2), 'data 9+1 to 2 clean')
  return { home, said }
}

/** How the page is given to a node that asks to read it, when another one has stored to it. */
function givenAfterStore({ home, said }: ReturnType<typeof newHome>) {
  home.write(1, 9, 1, 0)
  home.read(3, 9, 1, 0)
  said()
  home.returned(1, 9, 1, 'content', 0)
  return said().find((line) => line.startsWith('data'))
}

test('a flush is a proof that a page was stored to, and that it comes back unchanged then says nothing', () => {
  const { home, said } = givenOnProof()
  home.put(2, 9, 1, 'flush')
  home.read(1, 9, 1, 0)
  said()
  home.returned(2, 9, 1, 'unchanged', 0)
  assert.deepEqual(said(), ['putBack 9+1 protected', 'aside 9+1', 'data 9+1 to 1 exclusive', 'take 9+1'])
})

test('that a page was evicted by the node that was to prove a store proves nothing', () => {
  const turns = givenOnProof()
  turns.home.put(2, 9, 1, 'evict')
  assert.equal(givenAfterStore(turns), 'data 9+1 to 3 clean')
})

test('that the node is gone which was to prove a store proves nothing', () => {
  const turns = givenOnProof()
  turns.home.gone(2, 0)
  assert.equal(givenAfterStore(turns), 'data 9+1 to 3 clean')
})
