import { state } from '../../src/coherence/cache-pages.js'
import type { Access } from '../../src/coherence/terms.js'
import { type Budget, load, type Saved, save } from './saved.js'
import { type Place, World, type WorldOptions } from './world.js'

interface Action {
  readonly name: string
  /** It begins something: a world in which only such are left is at rest. */
  readonly begins: boolean
  readonly spends?: keyof Budget
  run(world: World): void
}

const accesses: readonly Access[] = ['read', 'write']

function threadActions(world: World, budget: Budget): Action[] {
  return world.threads.flatMap(({ at, is }, index): Action[] => {
    const place = world.places[at - 1]
    if (place !== undefined && (world.isEstranged(place) || place.link === 'revoked')) return []
    const name = `thread ${index} of ${at}`
    if (is === 'unread') return [{ name: `${name} is heard`, begins: false, run: (to) => to.hear(threadOf(to, index)) }]
    if (is === 'woken') return [{ name: `${name} tries`, begins: false, run: (to) => to.access(threadOf(to, index)) }]
    if (is === 'waiting' || budget.accesses === 0) return []
    return accesses.map((access) => ({
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

function linkActions(place: Place, index: number, budget: Budget): Action[] {
  const actions: Action[] = []
  const add = (name: string, run: (world: World, place: Place) => void, spends?: keyof Budget) =>
    actions.push({
      name: `${name} ${index + 1}`,
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
  // A place that was lost comes back once at most: its next number tells.
  return actions
}

function cacheActions(saved: Saved, place: Place, index: number, budget: Budget): Action[] {
  const { pages, window } = (saved.places[index] as Saved['places'][number]).cache
  const of = pages[0]?.[1] ?? state.absent
  const stays = of === state.upgrading || of < state.shared || window.length > 0
  const actions: Action[] = []
  if (place.link !== 'up' && place.link !== 'cut') return actions
  if (budget.evictions > 0 && !stays)
    actions.push({
      name: `evict ${index + 1}`,
      begins: true,
      spends: 'evictions',
      run: (world) => placeOf(world, index).cache.evict(1, world.clocks[index + 1] as number),
    })
  if (budget.flushes > 0 && of === state.dirty)
    actions.push({
      name: `flush ${index + 1}`,
      begins: true,
      spends: 'flushes',
      run: (world) => placeOf(world, index).cache.flush(0, 1),
    })
  return actions
}

function actionsOf(world: World, saved: Saved): Action[] {
  const { budget } = saved
  const actions = threadActions(world, budget)
  world.places.forEach((place, index) => {
    actions.push(...linkActions(place, index, budget), ...cacheActions(saved, place, index, budget))
    if (place.link === 'down' && place.node <= world.options.places)
      actions.push({ name: `rejoin ${index + 1}`, begins: true, run: (to) => to.rejoin(placeOf(to, index)) })
  })
  for (let at = 0; at <= world.places.length; at += 1) {
    const machine = at === 0 ? saved.home : (saved.places[at - 1] as Saved['places'][number]).cache
    const isAsked = (saved.delays[at]?.length ?? 0) > 0
    if (isAsked || machine.window.length > 0)
      actions.push({ name: `time passes at ${at}`, begins: !isAsked, run: (to) => to.tick(at) })
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

interface Visited {
  readonly key: string
  readonly from: number
  readonly action: string
}

function wayTo(visited: readonly Visited[], index: number, last: string): string {
  const way = last === '' ? [] : [last]
  for (let at = index; at > 0; at = (visited[at] as Visited).from) way.unshift((visited[at] as Visited).action)
  return way.map((name, step) => `  ${step + 1}. ${name}`).join('\n')
}

/** Every state that can be reached from the first within the budget and so many steps, shortest ways first. */
export function explore(options: WorldOptions, budget: Budget, maxDepth = Number.POSITIVE_INFINITY): Exploration {
  const start = new World(options)
  for (let place = 1; place <= options.places; place += 1) start.addPlace(place)
  const visited: Visited[] = []
  const known = new Set<string>()
  const add = (key: string, from: number, action: string) => {
    if (known.size === known.add(key).size) return
    visited.push({ key, from, action })
  }
  add(JSON.stringify(save(start, budget)), -1, '')
  let [steps, depth, rests, rollbacks] = [0, 0, 0, 0]
  for (let index = 0, end = 1; index < visited.length; index += 1) {
    if (index === end) {
      depth += 1
      end = visited.length
      if (depth === maxDepth) return { states: visited.length, steps, depth, rests, rollbacks, isComplete: false }
    }
    const { key } = visited[index] as Visited
    const actions = actionsOf(load(options, JSON.parse(key)), JSON.parse(key))
    if (actions.every(({ begins }) => begins)) {
      attempt(visited, index, 'rest', () => load(options, JSON.parse(key)).checkRest())
      rests += 1
    }
    for (const action of actions) {
      const saved: Saved = JSON.parse(key)
      const world = load(options, saved)
      attempt(visited, index, action.name, () => {
        action.run(world)
        world.checkAccess()
      })
      steps += 1
      rollbacks += world.rolledBack
      const { spends } = action
      const left = spends === undefined ? saved.budget : { ...saved.budget, [spends]: saved.budget[spends] - 1 }
      add(JSON.stringify(save(world, left)), index, action.name)
    }
  }
  return { states: visited.length, steps, depth, rests, rollbacks, isComplete: true }
}

function attempt(visited: readonly Visited[], index: number, name: string, run: () => void): void {
  try {
    run()
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause)
    throw new Counterexample(`${what}, after\n${wayTo(visited, index, name)}`, { cause })
  }
}
