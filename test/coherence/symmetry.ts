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
    pages: home.pages.map(([page, state, nodes]) => [page, state, names(nodes)]),
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

/**
 * The same world with its places in an order that only depends on what happens in them: worlds that
 * differ in who is who become one. Each place must have as many threads as every other.
 */
export function sorted(saved: Saved): Saved {
  const count = saved.places.length
  const described = saved.places.map((place, index) => {
    const threads = saved.threads.filter(({ at }) => at === index + 1).map((thread) => ({ ...thread, at: 0 }))
    const late = place.node > count
    return JSON.stringify([
      late,
      { ...place, node: 0 },
      threads,
      saved.delays[index + 1],
      saidOf(saved.home, place.node),
    ])
  })
  const order = saved.places
    .map((_, index) => index)
    .sort((a, b) => ((described[a] as string) < (described[b] as string) ? -1 : 1))
  if (order.every((from, to) => from === to)) return { ...saved, home: renamed(saved.home, (node) => node) }
  const pick = <T>(list: readonly T[]) => order.map((from) => list[from] as T)
  /** A node's number tells its place, and how often the place has joined. */
  const name = (node: number) => {
    const place = (node - 1) % count
    return node === 0 ? 0 : node - place + order.indexOf(place)
  }
  const [ofHome = [], ...ofPlaces] = saved.delays
  return {
    ...saved,
    home: renamed(saved.home, name),
    places: pick(saved.places).map((place) => ({ ...place, node: name(place.node) })),
    threads: [0, ...order.map((from) => from + 1)].flatMap((from, at) =>
      saved.threads.filter((thread) => thread.at === from).map((thread) => ({ ...thread, at })),
    ),
    delays: [ofHome, ...pick(ofPlaces)],
    names: pick(saved.names),
  }
}
