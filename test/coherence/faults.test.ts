import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Counterexample, explore } from './explore.js'
import type { Budget } from './saved.js'
import type { Thread, WorldOptions } from './world.js'

/** A protocol that is broken in one place, and what the exploration has to say of it. */
interface Fault extends Pick<WorldOptions, 'breakHome' | 'breakCache'> {
  readonly what: string
  readonly found: RegExp
  readonly budget?: Partial<Budget>
  readonly turns?: number
}

const nothing = () => {}

const faults: readonly Fault[] = [
  {
    what: 'an invalidate that does not reach its node',
    found: /may write while/,
    breakHome: (_, world) => ({
      invalidate: (node, first, count) =>
        world.send(world.placeOf(node), 'toHome', { is: 'invalidated', first, count }),
    }),
  },
  {
    what: 'a right to write that does not wait for the answers of the readers',
    found: /may write while/,
    breakHome: ({ invalidate }, world) => ({
      invalidate: (node, first, count) => {
        invalidate(node, first, count)
        world.send(world.placeOf(node), 'toHome', { is: 'invalidated', first, count })
      },
    }),
    breakCache: () => ({ sendInvalidated: nothing }),
  },
  {
    what: 'a hole that is punched before the content is kept aside',
    found: /what is given for writing is aside/,
    breakHome: ({ aside, take }) => ({
      aside: nothing,
      take: (first, count) => {
        take(first, count)
        aside(first, count)
      },
    }),
  },
  {
    what: "a recall that is answered 'already returned' by a node that has the page",
    found: /owes 'content'/,
    breakCache: ({ sendReturned }) => ({ sendReturned: (first, count) => sendReturned(first, count, 'already') }),
  },
  {
    what: 'a recall that is answered as of an unchanged page by a node that has stored to it',
    found: /the last that was written/,
    breakCache: ({ sendReturned }) => ({ sendReturned: (first, count) => sendReturned(first, count, 'unchanged') }),
  },
  {
    what: 'a page that is given on proof and can be stored to',
    found: /may write while|the last that was written/,
    turns: 2,
    breakCache: ({ install }) => ({ install: (first, count, nth) => install(first, count, nth, 'writable') }),
  },
  {
    what: 'an invalidate that is answered by a node that keeps the page',
    found: /may write while|comes into a hole/,
    breakCache: () => ({ drop: nothing }),
  },
  {
    what: 'a page to read that can be stored to',
    found: /may write while/,
    breakCache: ({ install }) => ({ install: (first, count, nth) => install(first, count, nth, 'writable') }),
  },
  {
    what: 'a page that home gives to a reader and goes on to store to',
    found: /content that is copied is protected/,
    breakHome: () => ({ protect: nothing }),
  },
  {
    what: 'a page that a node returns and goes on to store to',
    found: /content that is copied is protected/,
    breakCache: () => ({ protect: nothing }),
  },
  {
    what: 'a page that home keeps when another may write it',
    found: /may write while/,
    breakHome: () => ({ take: nothing }),
  },
  {
    what: 'a flush that does not replace what is aside',
    found: /what is restored is the last that home had/,
    budget: { flushes: 1, cuts: 1 },
    breakHome: ({ updateAside }, { aside }) => ({
      updateAside: (first, count, nth) => {
        const before = aside.get(first) as number
        updateAside(first, count, nth)
        aside.set(first, before)
      },
    }),
  },
  {
    what: 'a thread of home that is not told that its page is there',
    found: /a thread in partition 0 waits for ever/,
    breakHome: () => ({ wake: nothing }),
  },
  {
    what: 'a thread of a node that is not told that its page is there',
    found: /a thread in partition \d waits for ever/,
    breakCache: ({ install }, world) => ({
      install: (...page) => {
        const before = world.threads.map(({ is }) => is)
        install(...page)
        for (const [index, is] of before.entries()) (world.threads[index] as Thread).is = is
      },
    }),
  },
  {
    what: 'a node that does not release its threads when home is lost',
    found: /nobody waits for a home that is lost/,
    budget: { cuts: 1 },
    breakCache: ({ wake }, _, place) => ({
      wake: (first, count) => {
        if (place.link === 'up' || place.link === 'cut') wake(first, count)
      },
    }),
  },
  {
    what: 'a node that is not told when its window is over',
    found: /waits for ever|is left over/,
    breakCache: () => ({ delay: nothing }),
  },
  {
    what: 'a home that is not told when its window is over',
    found: /waits for ever|is left over/,
    breakHome: () => ({ delay: nothing }),
  },
  {
    what: 'an eviction that home does not hear of',
    found: /both sides say the same/,
    budget: { evictions: 1 },
    breakCache: () => ({ sendDropped: nothing }),
  },
]

for (const { what, found, budget, ...broken } of faults) {
  test(`the exploration finds ${what}`, () => {
    const options = { pages: 1, places: 2, threads: [0, 1, 2], ...broken }
    const most = { accesses: 3, evictions: 0, flushes: 0, cuts: 0, ...budget }
    const run = () => explore(options, most)
    assert.throws(run, (error) => {
      assert(error instanceof Counterexample)
      assert.match(error.message, found)
      return true
    })
  })
}
