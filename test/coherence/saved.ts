import type { CacheSnapshot } from '../../src/coherence/cache.js'
import type { HomeSnapshot } from '../../src/coherence/home.js'
import { hole, type Memory } from './memory.js'
import { type Message, type Place, type Thread, World, type WorldOptions } from './world.js'

/** What may still be begun in a run, so that the states are finitely many. */
export interface Budget {
  /** Loads and stores of threads. */
  readonly accesses: number
  readonly evictions: number
  readonly flushes: number
  /** Links that are lost; each place may come back once for each. */
  readonly cuts: number
}

interface SavedMemory {
  readonly content: number[]
  readonly marked: boolean[]
}

interface SavedPlace {
  readonly node: number
  readonly cache: CacheSnapshot
  readonly memory: SavedMemory
  readonly toNode: Message[]
  readonly toHome: Message[]
  readonly link: Place['link']
}

/** A world as plain data, the same for worlds that behave alike: times and versions count from the state. */
export interface Saved {
  readonly budget: Budget
  readonly home: HomeSnapshot
  readonly memory: SavedMemory
  readonly places: SavedPlace[]
  readonly threads: readonly Thread[]
  readonly aside: [number, number][]
  readonly kept: [number, number][]
  readonly latest: number[]
  readonly nextVersion: number
  readonly delays: [number, number, number][][]
  /** What the places are called in a counterexample; says nothing about the state. */
  readonly names: number[]
}

/** Times from now on; those that are over are forgotten. */
function fromNow<T extends readonly number[]>(times: readonly T[], now: number): T[] {
  return times.filter(([, , until = 0]) => until > now).map(([a, b, until = 0]) => [a, b, until - now] as unknown as T)
}

/** The versions that are anywhere, numbered from 0 in the same order. */
function renumbered(world: World): Map<number, number> {
  const present = new Set([...world.latest, ...world.aside.values(), ...world.kept.values(), 0])
  const addMessage = (message: Message) => {
    if ('versions' in message) for (const version of message.versions ?? []) present.add(version)
  }
  for (const { content } of [world.memory, ...world.places.map(({ memory }) => memory)])
    for (const version of content) present.add(version)
  for (const { toHome, toNode } of world.places) for (const message of [...toHome, ...toNode]) addMessage(message)
  present.delete(hole)
  return new Map([...present].sort((a, b) => a - b).map((version, index) => [version, index]))
}

export function save(world: World, budget: Budget, names: number[]): Saved {
  const numbers = renumbered(world)
  const number = (version: number) => numbers.get(version) ?? hole
  const saveMemory = ({ content, marked }: Memory) => ({ content: content.map(number), marked: [...marked] })
  const saveMessage = (message: Message): Message =>
    'versions' in message && message.versions !== undefined
      ? { ...message, versions: message.versions.map(number) }
      : message
  const home = world.home.snapshot()
  return {
    budget,
    home: { ...home, window: fromNow(home.window, world.clocks[0] ?? 0) },
    memory: saveMemory(world.memory),
    places: world.places.map(({ node, cache, memory, toNode, toHome, link }, index) => {
      const snapshot = cache.snapshot()
      return {
        node,
        cache: { ...snapshot, window: fromNow(snapshot.window, world.clocks[index + 1] ?? 0) },
        memory: saveMemory(memory),
        toNode: toNode.map(saveMessage),
        toHome: toHome.map(saveMessage),
        link,
      }
    }),
    threads: world.threads.map((thread) => ({ ...thread })),
    aside: [...world.aside].map(([page, version]) => [page, number(version)]),
    kept: world.home.state(0) === 'far' ? [...world.kept].map(([page, version]) => [page, number(version)]) : [],
    latest: world.latest.map(number),
    nextVersion: numbers.size,
    delays: world.delays.map((delays, at) => fromNow(delays, world.clocks[at] ?? 0)),
    names,
  }
}

export function load(options: WorldOptions, saved: Saved): World {
  const world = new World(options, saved.home)
  const copy = ({ content, marked }: SavedMemory) => ({ content: [...content], marked: [...marked] })
  Object.assign(world.memory, copy(saved.memory))
  for (const place of saved.places) {
    const loaded = world.addPlace(place.node, place.cache)
    loaded.link = place.link
    loaded.toNode.push(...place.toNode)
    loaded.toHome.push(...place.toHome)
    Object.assign(loaded.memory, copy(place.memory))
  }
  saved.threads.forEach((thread, index) => {
    world.threads[index] = { ...thread }
  })
  for (const [page, version] of saved.aside) world.aside.set(page, version)
  for (const [page, version] of saved.kept) world.kept.set(page, version)
  saved.latest.forEach((version, page) => {
    world.latest[page] = version
  })
  saved.delays.forEach((delays, at) => {
    world.delays[at]?.push(...delays)
  })
  world.nextVersion = saved.nextVersion
  return world
}
