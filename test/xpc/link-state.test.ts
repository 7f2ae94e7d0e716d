import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Dialer, follow, type LinkState, type LinkStateName, takesPlace } from '../../src/xpc/link-state.js'

const names: readonly LinkStateName[] = ['inactive', 'activating', 'active', 'deactivating']

/** Every change that there is. */
const changes = new Set([
  'inactive activating',
  'inactive active',
  'activating active',
  'activating inactive',
  'active deactivating',
  'deactivating inactive',
])

test('of all changes between two states exactly the six of the protocol happen, with their reason and time', () => {
  for (const from of names) {
    for (const to of names) {
      const state: LinkState = { name: from, reason: 'before', sinceMs: 1 }
      const next = () => follow(state, to, 'after', 2)
      if (changes.has(`${from} ${to}`)) assert.deepEqual(next(), { name: to, reason: 'after', sinceMs: 2 })
      else assert.throws(next, new RegExp(`that is ${from} cannot become ${to}`))
      assert.deepEqual(state, { name: from, reason: 'before', sinceMs: 1 })
    }
  }
})

const ends = [1, 2] as const
type End = (typeof ends)[number]
const other = (end: End): End => (end === 1 ? 2 : 1)
const dialerOf = (connection: End, at: End): Dialer => (connection === at ? 'here' : 'there')

/** Two partitions, numbered as their connections are: connection N is the one that partition N makes. */
interface World {
  /** Messages on their way, in the order of each direction of each connection. */
  readonly wires: { readonly connection: End; readonly to: End; readonly words: readonly string[] }[]
  readonly current: Readonly<Record<End, End | undefined>>
  readonly dialing: Readonly<Record<End, boolean>>
  readonly mayDial: Readonly<Record<End, boolean>>
}

function say(world: World, connection: End, to: End, word: string): World {
  const wires = world.wires.map((wire) =>
    wire.connection === connection && wire.to === to ? { ...wire, words: [...wire.words, word] } : wire,
  )
  return { ...world, wires }
}

function dial(world: World, end: End): World {
  const begun = {
    ...world,
    dialing: { ...world.dialing, [end]: true },
    mayDial: { ...world.mayDial, [end]: false },
  }
  return say(begun, end, other(end), 'hello')
}

/** What an end does with a hello: the rules of `Membership`, around `takesPlace`. */
function greeted(world: World, connection: End, at: End): World {
  const current = world.current[at]
  const takes = takesPlace({
    ownId: at,
    peerId: other(at),
    dialer: dialerOf(connection, at),
    current: current === undefined ? undefined : { dialer: dialerOf(current, at), incarnation: 1 },
    incarnation: 1,
    dialing: world.dialing[at],
  })
  if (!takes) return say(world, connection, other(at), 'end')
  assert.equal(current, undefined, 'a connection that is used gives way to another of the same service')
  const ownDropped = world.dialing[at] && connection !== at
  let next: World = {
    ...world,
    current: { ...world.current, [at]: connection },
    dialing: { ...world.dialing, [at]: false },
  }
  if (connection !== at) next = say(next, connection, other(at), 'hello')
  return ownDropped ? say(next, at, other(at), 'end') : next
}

function ended(world: World, connection: End, at: End): World {
  const current = { ...world.current, ...(world.current[at] === connection ? { [at]: undefined } : {}) }
  return { ...world, current, dialing: { ...world.dialing, ...(connection === at ? { [at]: false } : {}) } }
}

function nextWorlds(world: World): World[] {
  const dials = ends
    .filter((end) => world.mayDial[end] && world.current[end] === undefined)
    .map((end) => dial(world, end))
  const deliveries = world.wires.flatMap((wire, index) => {
    const [word, ...words] = wire.words
    if (word === undefined) return []
    const rest = { ...world, wires: world.wires.with(index, { ...wire, words }) }
    // What comes over a connection that this end has given up is not heard.
    const givenUp = wire.connection === wire.to && !rest.dialing[wire.to] && rest.current[wire.to] !== wire.connection
    if (givenUp) return [rest]
    return [(word === 'hello' ? greeted : ended)(rest, wire.connection, wire.to)]
  })
  return [...dials, ...deliveries]
}

test('two partitions that call each other in any order keep one connection, and the same at both ends', () => {
  const start: World = {
    wires: ends.flatMap((connection) => ends.map((to) => ({ connection, to, words: [] }))),
    current: { 1: undefined, 2: undefined },
    dialing: { 1: false, 2: false },
    mayDial: { 1: true, 2: true },
  }
  const seen = new Set<string>()
  const open = [start]
  let finished = 0
  for (let world = open.pop(); world !== undefined; world = open.pop()) {
    const key = JSON.stringify([world, world.current[1] ?? 0, world.current[2] ?? 0])
    if (seen.has(key)) continue
    seen.add(key)
    const next = nextWorlds(world)
    open.push(...next)
    if (next.length > 0) continue
    finished += 1
    const { 1: one, 2: two } = world.current
    assert(one !== undefined && one === two, `partition 1 has ${one}, partition 2 has ${two}`)
  }
  assert(finished >= 2 && seen.size > 15, `${seen.size} states, ${finished} of them last ones`)
})

test('of two rivals of the same services both ends keep the one that the smaller number made, whichever came first', () => {
  for (const end of ends) {
    for (const first of ends) {
      const takes = takesPlace({
        ownId: end,
        peerId: other(end),
        dialer: dialerOf(other(first), end),
        current: { dialer: dialerOf(first, end), incarnation: 1 },
        incarnation: 1,
        dialing: false,
      })
      assert.equal(takes ? other(first) : first, 1, `end ${end}, first ${first}`)
    }
  }
})

test('a connection of another incarnation, or a second one of the same maker, takes the place of any', () => {
  for (const ownId of ends) {
    for (const dialer of ['here', 'there'] as const) {
      for (const before of ['here', 'there'] as const) {
        for (const dialing of [true, false]) {
          const rivals = { ownId, peerId: other(ownId), dialer, dialing, incarnation: 2 }
          assert(takesPlace({ ...rivals, current: { dialer: before, incarnation: 1 } }))
          if (before === dialer) assert(takesPlace({ ...rivals, current: { dialer: before, incarnation: 2 } }))
        }
      }
    }
  }
})
