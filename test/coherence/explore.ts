import { createHash } from 'node:crypto'
import { state } from '../../src/coherence/cache-pages.js'
import type { Access } from '../../src/coherence/terms.js'
import { type Budget, load, type Saved, save } from './saved.js'
import { sorted } from './symmetry.js'
import { type Place, World, type WorldOptions } from './world.js'

interface Action {
  readonly name: string
  /** It begins something: a world in which only such are left is at rest. */
  readonly begins: boolean
  readonly spends?: keyof Budget
  run(world: World): void
}

const accesses: readonly Access[] = ['read', 'write']
const reads: readonly Access[] = ['read']

function threadActions(world: World, { budget, names, home }: Saved): Action[] {
  const mayWrite = (place: Place | undefined) =>
    place === undefined || home.nodes.find(([node]) => node === place.node)?.[1] !== 'read'
  return world.threads.flatMap(({ at, is }, index): Action[] => {
    const place = world.places[at - 1]
    if (place !== undefined && (world.isEstranged(place) || place.link === 'revoked')) return []
    const name = `a thread of ${place === undefined ? 'home' : names[at - 1]}`
    if (is === 'unread') return [{ name: `${name} is heard`, begins: false, run: (to) => to.hear(threadOf(to, index)) }]
    if (is === 'woken') return [{ name: `${name} tries`, begins: false, run: (to) => to.access(threadOf(to, index)) }]
    if (is === 'waiting' || budget.accesses === 0) return []
    return (mayWrite(place) ? accesses : reads).map((access) => ({
      name: `${name} begins to ${access}`,
      begins: true,
      spends: 'accesses',
      run: (to) => {
        threadOf(to, index).access = access
        to.access(threadOf(to, index))
      },
    }))
  })
}

const threadOf = (world: World, index: number) => world.threads[index] as World['threads'][number]
const placeOf = (world: World, index: number) => world.places[index] as Place

function linkActions(place: Place, index: number, { budget, names }: Saved): Action[] {
  const actions: Action[] = []
  const add = (name: string, run: (world: World, place: Place) => void, spends?: keyof Budget) =>
    actions.push({
      name: `${name} ${names[index]}`,
      begins: spends !== undefined,
      ...(spends === undefined ? {} : { spends }),
      run: (world) => run(world, placeOf(world, index)),
    })
  const { link } = place
  if (place.toNode.length > 0) add(`deliver ${place.toNode[0]?.is} to`, (world, to) => world.deliverToNode(to))
  if (place.toHome.length > 0) add(`deliver ${place.toHome[0]?.is} from`, (world, from) => world.deliverToHome(from))
  if (link === 'cut' || link === 'revoked') add('home hears of the loss of', (world, lost) => world.homeHears(lost))
  if (link === 'cut' || link === 'restored') add('the loss of home is heard by', (world, lost) => world.nodeHears(lost))
  if (link === 'up' && budget.cuts > 0) add('cut', (world, lost) => world.cut(lost), 'cuts')
  return actions
}

function cacheActions(place: Place, index: number, saved: Saved): Action[] {
  const { budget, names } = saved
  const { pages, window } = (saved.places[index] as Saved['places'][number]).cache
  const of = pages[0]?.[1] ?? state.absent
  const stays = of === state.upgrading || of < state.shared || window.length > 0
  const actions: Action[] = []
  if (place.link !== 'up' && place.link !== 'cut') return actions
  if (budget.evictions > 0 && !stays)
    actions.push({
      name: `evict ${names[index]}`,
      begins: true,
      spends: 'evictions',
      run: (world) => placeOf(world, index).cache.evict(1, world.clocks[index + 1] as number),
    })
  if (budget.flushes > 0 && of === state.dirty)
    actions.push({
      name: `flush ${names[index]}`,
      begins: true,
      spends: 'flushes',
      run: (world) => placeOf(world, index).cache.flush(0, 1),
    })
  return actions
}

function actionsOf(world: World, saved: Saved): Action[] {
  const actions = threadActions(world, saved)
  world.places.forEach((place, index) => {
    actions.push(...linkActions(place, index, saved), ...cacheActions(place, index, saved))
    // A place that was lost comes back once.
    if (place.link === 'down' && place.node <= world.options.places)
      actions.push({ name: `rejoin ${saved.names[index]}`, begins: true, run: (to) => to.rejoin(placeOf(to, index)) })
  })
  for (let at = 0; at <= world.places.length; at += 1) {
    const machine = at === 0 ? saved.home : (saved.places[at - 1] as Saved['places'][number]).cache
    const isAsked = (saved.delays[at]?.length ?? 0) > 0
    if (isAsked || machine.window.length > 0)
      actions.push({
        name: `time passes at ${at === 0 ? 'home' : saved.names[at - 1]}`,
        begins: !isAsked,
        run: (to) => to.tick(at),
      })
  }
  return actions
}

export interface Exploration {
  /** Different states that were reached. */
  readonly states: number
  readonly steps: number
  /** The most steps that a state is away from the first one. */
  readonly depth: number
  /** States in which everything is answered. */
  readonly rests: number
  readonly rollbacks: number
  /** Whether there was nothing further to explore. */
  readonly isComplete: boolean
}

/** What went wrong, and the shortest way there. */
export class Counterexample extends Error {}

/** How each state was first reached. */
interface Ways {
  readonly from: number[]
  readonly action: string[]
}

function wayTo({ from, action }: Ways, index: number, last: string): string {
  const way = [last]
  for (let at = index; at > 0; at = from[at] as number) way.unshift(action[at] as string)
  return way.map((name, step) => `  ${step + 1}. ${name}`).join('\n')
}

/** Tells states apart, with 128 bits of each. */
function digest(text: string): string {
  return createHash('md5').update(text).digest('base64')
}

/** Every state that can be reached from the first within the budget and so many steps, shortest ways first. */
export function explore(options: WorldOptions, budget: Budget, maxDepth = Number.POSITIVE_INFINITY): Exploration {
  const ways: Ways = { from: [-1], action: [''] }
  const first = firstState(options, budget)
  let frontier = [{ index: 0, saved: first.saved }]
  const known = new Set([digest(first.text)])
  let [steps, depth, rests, rollbacks] = [0, 0, 0, 0]
  for (; frontier.length > 0 && depth < maxDepth; depth += 1) {
    const next: typeof frontier = []
    for (const { index, saved } of frontier) {
      const actions = actionsOf(load(options, saved), saved)
      if (actions.every(({ begins }) => begins)) {
        attempt(ways, index, 'all is delivered', () => load(options, saved).checkRest())
        rests += 1
      }
      for (const action of actions) {
        const world = load(options, saved)
        attempt(ways, index, action.name, () => {
          action.run(world)
          world.checkAccess()
        })
        steps += 1
        rollbacks += world.rolledBack
        const reached = sorted(save(world, spent(saved.budget, action.spends), saved.names))
        if (known.size === known.add(digest(reached.text)).size) continue
        next.push({ index: ways.from.length, saved: reached.saved })
        ways.from.push(index)
        ways.action.push(action.name)
      }
    }
    frontier = next
  }
  return { states: known.size, steps, depth, rests, rollbacks, isComplete: frontier.length === 0 }
}

function firstState(options: WorldOptions, budget: Budget) {
  const world = new World(options)
  const names = Array.from({ length: options.places }, (_, index) => index + 1)
  for (const place of names) world.addPlace(place)
  return sorted(save(world, budget, names))
}

function spent(budget: Budget, spends: keyof Budget | undefined): Budget {
  return spends === undefined ? budget : { ...budget, [spends]: budget[spends] - 1 }
}

function attempt(ways: Ways, index: number, name: string, run: () => void): void {
  try {
    run()
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause)
    throw new Counterexample(`${what}, after\n${wayTo(ways, index, name)}`, { cause })
  }
}
