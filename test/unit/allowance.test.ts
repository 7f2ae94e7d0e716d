import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Allowance } from '../../src/service/allowance.js'

test('an allowance gives up to its most, and again what came back', () => {
  const one = new Allowance(3)
  assert(one.take(2))
  assert(!one.take(2))
  assert(one.take(1))
  assert(!one.take(1))
  one.give(2)
  assert(one.take(2))
})

test('an allowance of several ends when all of them together have taken it', () => {
  const all = new Allowance(5)
  const [one, two] = [new Allowance(4, all), new Allowance(4, all)]
  assert(one.take(4))
  assert(!two.take(2))
  assert(two.take(1))
  one.give(4)
  assert(two.take(3))
  assert(!one.take(2))
})

test('what is refused to one is not taken from all', () => {
  const all = new Allowance(5)
  const [one, two] = [new Allowance(2, all), new Allowance(9, all)]
  assert(!one.take(3))
  assert(two.take(5))
  assert(!one.take(1))
  two.give(5)
  assert(one.take(2))
})
