import type { HomeSnapshot } from '../../src/coherence/home.js'
import type { Saved } from './saved.js'

/** What home's machine says of a node, wherever it is said. */
function saidOf(home: HomeSnapshot, node: number): unknown {
  return [
    home.pages.map(([, , nodes]) => nodes.includes(node)),
    home.deals.map(([, queue, awaited, recalled]) => [
      queue.findIndex((request) => request.node === node),
      awaited.includes(node),
      recalled === node,
    ]),
  ]
}

function renamed(home: HomeSnapshot, name: (node: number) => number): HomeSnapshot {
  const names = (nodes: readonly number[]) => nodes.map(name).sort((a, b) => a - b)
  return {
    nodes: home.nodes
      .map(([node, access]) => [name(node), access] as [number, typeof access])
      .sort(([a], [b]) => a - b),
    pages: home.pages.map(([page, state, nodes, turns]) => [page, state, names(nodes), turns]),
    deals: home.deals.map(([page, queue, awaited, recalled, keep, held]) => [
      page,
      queue.map((request) => ({ ...request, node: name(request.node) })),
      names(awaited),
      name(recalled),
      keep,
      held,
    ]),
    window: home.window,
  }
}

/** All that is in a place, without what it is called. */
function described(saved: Saved, index: number): string {
  const place = saved.places[index] as Saved['places'][number]
  const threads = saved.threads.filter(({ at }) => at === index + 1).map(({ is, access }) => [is, access])
  const late = place.node > saved.places.length
  const { cache, memory, toNode, toHome, link } = place
  return JSON.stringify([
    late,
    link,
    cache,
    memory,
    toNode,
    toHome,
    threads,
    saved.delays[index + 1],
    saidOf(saved.home, place.node),
  ])
}

/**
 * The same world with its places in an order that only depends on what happens in them, so that worlds
 * that differ in who is who become one; and a text that is the same for those alone. Each place must
 * have as many threads as every other.
 */
export function sorted(saved: Saved): { readonly saved: Saved; readonly text: string } {
  const count = saved.places.length
  const texts = saved.places.map((_, index) => described(saved, index))
  const order = saved.places
    .map((_, index) => index)
    .sort((a, b) => ((texts[a] as string) < (texts[b] as string) ? -1 : 1))
  const pick = <T>(list: readonly T[]) => order.map((from) => list[from] as T)
  /** A node's number tells its place, and how often the place has joined. */
  const name = (node: number) => {
    const place = (node - 1) % count
    return node === 0 ? 0 : node - place + order.indexOf(place)
  }
  const [ofHome = [], ...ofPlaces] = saved.delays
  const { budget, memory, aside, kept, latest } = saved
  const home = renamed(saved.home, name)
  const ofHomeThreads = saved.threads.filter(({ at }) => at === 0)
  const threads = order.flatMap((from, index) =>
    saved.threads.filter(({ at }) => at === from + 1).map((thread) => ({ ...thread, at: index + 1 })),
  )
  return {
    saved: {
      ...saved,
      home,
      places: pick(saved.places).map((place) => ({ ...place, node: name(place.node) })),
      threads: [...ofHomeThreads, ...threads],
      delays: [ofHome, ...pick(ofPlaces)],
      names: pick(saved.names),
    },
    text: JSON.stringify([budget, home, memory, aside, kept, latest, ofHome, ofHomeThreads]) + pick(texts).join(''),
  }
}
