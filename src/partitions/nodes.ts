import type { Access, Keep, Put, Returned, Share } from '../coherence/terms.js'
import { XpmemError } from '../errors.js'
import { kernel } from '../kernel/index.js'
import type { FarNode, HomeFile } from '../pager/home-file.js'
import type { PagedHome } from '../pager/homes.js'
import { type PageRange, PageRanges } from '../pager/page-ranges.js'
import type { Descriptor } from '../transport/descriptor.js'
import type { Pages } from '../wire/pages-codec.js'
import { keep, maxPagesPerMessage, put, returned, share } from '../wire/xpc-schema.js'
import type { XpcMessage } from '../xpc/connection.js'
import { ByNumbers } from './by-numbers.js'
import type { Peer } from './peer.js'

/** Messages about pages that a cache sends. */
export type CacheMessage = XpcMessage<'read' | 'write' | 'invalidated' | 'returned' | 'put' | 'dropped'>

const cacheMessages: ReadonlySet<string> = new Set(['read', 'write', 'invalidated', 'returned', 'put', 'dropped'])

export function isCacheMessage(message: XpcMessage): message is CacheMessage {
  return cacheMessages.has(message.name)
}

/** Names by the numbers that messages have for them. */
export class Ways<T extends string> {
  readonly #names: (T | undefined)[] = []

  constructor(numbers: Readonly<Record<T, number>>) {
    for (const name of Object.keys(numbers) as T[]) this.#names[numbers[name]] = name
  }

  /** How the message says. EPROTO if that is no way. */
  of(message: XpcMessage & { readonly way: number }): T {
    const name = this.#names[message.way]
    if (name === undefined) throw malformed(message, `there is no way ${message.way}`)
    return name
  }
}

const returnedWays = new Ways<Returned>(returned)
const putWays = new Ways<Put>(put)

function malformed(message: XpcMessage, what: string): XpmemError {
  return new XpmemError('EPROTO', message.name, what)
}

/** A cache of a peer's, as the home of a file speaks with it. */
class LinkNode implements FarNode {
  readonly access: Access
  readonly #peer: Peer
  readonly #file: number
  readonly #cache: number
  #hasLeft = false
  readonly #isVoid = () => this.#hasLeft

  constructor(peer: Peer, file: number, cache: number, access: Access) {
    this.#peer = peer
    this.#file = file
    this.#cache = cache
    this.access = access
  }

  data(first: number, count: number, way: Share, file: Descriptor): void {
    this.#peer.counters.pagesOut += count
    eachPart(first, count, (from, some) => {
      const part = { file, offset: from * kernel.pageSize, length: some * kernel.pageSize, isVoid: this.#isVoid }
      this.#peer.link.sendPages('data', this.#pages(from, some, share[way]), { bytes: 0, part })
    })
  }

  grant(first: number, count: number): void {
    this.#peer.link.sendPages('grant', this.#pages(first, count))
  }

  invalidate(first: number, count: number): void {
    this.#peer.link.sendPages('invalidate', this.#pages(first, count))
  }

  recall(first: number, count: number, way: Keep): void {
    this.#peer.link.sendPages('recall', this.#pages(first, count, keep[way]))
  }

  silent(): void {
    const why = new XpmemError('ETIMEDOUT', 'xpc', 'it was asked to give pages back and did not')
    void this.#peer.link.deactivate(why, true)
  }

  /** What waits to be sent is its no more: others store to it from now on. */
  leave(): void {
    this.#hasLeft = true
  }

  #pages(first: number, count: number, way = 0): Pages {
    return { file: this.#file, cache: this.#cache, first, count, way }
  }
}

/** Pages whose content is sent as one: the other end can use them while the next are on their way. */
const pagesPerPart = 32

/** Calls `take` with parts of a run, each as long as one message carries well. */
export function eachPart(first: number, count: number, take: (first: number, count: number) => void): void {
  for (let done = 0; done < count; done += pagesPerPart) take(first + done, Math.min(pagesPerPart, count - done))
}

interface Node {
  readonly home: HomeFile
  readonly link: LinkNode
  readonly identity: string
  readonly number: number
  /** What it may ask for. */
  readonly allowed: PageRanges
}

/** Caches of files that one peer may have. */
const maxNodes = 65_536

/** The caches that one peer has of files of this partition. */
export class Nodes {
  readonly #peer: Peer
  /** By the numbers of the file and the cache. */
  readonly #nodes = new ByNumbers<Node>()

  constructor(peer: Peer) {
    this.#peer = peer
  }

  /** A cache of the peer's may ask for pages of a file. */
  allow({ home, number }: PagedHome, cache: number, access: Access, range: PageRange): void {
    let node = this.#nodes.get(number, cache)
    if (node === undefined) {
      if (this.#nodes.size >= maxNodes) {
        throw new XpmemError('EMFILE', 'attach', `a partition has ${maxNodes} caches of files at the most`)
      }
      const link = new LinkNode(this.#peer, number, cache, access)
      node = { home, link, identity: home.file.identity, number: home.join(link), allowed: new PageRanges() }
      this.#nodes.set(number, cache, node)
    } else if (access === 'write' && home.accessOf(node.number) === 'read') {
      throw new XpmemError('EPROTO', 'attach', 'a cache that reads cannot become one that writes')
    }
    node.allowed.add(range)
  }

  /** Carries out a message about pages. EPROTO for what breaks the protocol. */
  take(message: CacheMessage): void {
    const { file, cache, first, count } = message
    const node = this.#nodes.get(file, cache)
    if (node === undefined) throw malformed(message, 'the cache has nothing attached of that file')
    const { home, number } = node
    switch (message.name) {
      case 'read':
      case 'write':
        // All of them may be answered in one event, which nobody could interrupt.
        if (count > maxPagesPerMessage) throw malformed(message, `no message asks for ${count} pages`)
        if (!node.allowed.contains(message)) throw malformed(message, 'the pages are not of what is attached')
        return home.request(number, message.name, first, count)
      case 'invalidated':
        return home.invalidated(number, first, count)
      case 'returned': {
        const way = returnedWays.of(message)
        return home.returned(number, first, count, way, this.#content(message, way === 'content'))
      }
      case 'put':
        return home.put(number, first, count, putWays.of(message), this.#content(message, true))
      case 'dropped':
        return home.dropped(number, first, count)
    }
  }

  #content(message: XpcMessage<'returned' | 'put'>, expected: boolean): Uint8Array {
    const { count, bytes } = message
    if (bytes.length !== (expected ? count * kernel.pageSize : 0))
      throw malformed(message, 'the content is not of those pages')
    this.#peer.counters.pagesIn += expected ? count : 0
    return bytes
  }

  /** A cache has nothing of a file any more. Gives the file's identity, if it had. */
  leave(file: number, cache: number): string | undefined {
    const node = this.#nodes.remove(file, cache)
    node?.link.leave()
    node?.home.gone(node.number)
    return node?.identity
  }

  /** The peer is gone. Gives the files that it had caches of. */
  close(): string[] {
    const nodes = this.#nodes.values()
    this.#nodes.clear()
    for (const { home, number } of nodes) home.gone(number)
    return nodes.map(({ identity }) => identity)
  }
}
