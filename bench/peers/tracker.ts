/** A process that has nothing but the machines of the page protocol, and tells how large they are. */
import { Cache } from '../../src/coherence/cache.js'
import type { CacheEffects } from '../../src/coherence/cache-effects.js'
import { state as pageState } from '../../src/coherence/cache-pages.js'
import { Home } from '../../src/coherence/home.js'
import type { HomeEffects } from '../../src/coherence/home-effects.js'
import { Ages } from '../../src/pager/ages.js'
import { serveCalls } from '../support/calls.js'
import { usedBytes } from '../support/used-bytes.js'

/** Pages of one event. */
const step = 4_096
const holdMs = 0.2
const node = 1
const nothing = () => {}

/** As a home carries them out, as far as something is kept of the pages. */
function homeEffects(ages: Ages): HomeEffects {
  return {
    protect: nothing,
    unprotect: nothing,
    aside: (first, count) => ages.set(first, count),
    updateAside: nothing,
    install: nothing,
    restore: nothing,
    putBack: nothing,
    data: nothing,
    grant: nothing,
    take: nothing,
    wake: nothing,
    invalidate: nothing,
    recall: nothing,
    delay: nothing,
  }
}

const cacheEffects: CacheEffects = {
  request: nothing,
  install: nothing,
  protect: nothing,
  unprotect: nothing,
  drop: nothing,
  sendReturned: nothing,
  sendInvalidated: nothing,
  sendPut: nothing,
  sendDropped: nothing,
  wake: nothing,
  delay: nothing,
}

/** What the process has of memory more, for each page, when every page has been visited. */
async function bytesPerPage(pageCount: number, visit: (first: number, count: number) => void): Promise<number> {
  const before = await usedBytes()
  for (let first = 0; first < pageCount; first += step) visit(first, Math.min(step, pageCount - first))
  return ((await usedBytes()) - before) / pageCount
}

function checkEach(pageCount: number, isTracked: (page: number) => boolean): void {
  for (let page = 0; page < pageCount; page += 1) if (!isTracked(page)) throw new Error(`page ${page} is not tracked`)
}

serveCalls({
  /** Bytes that a home takes for a page which another node has for writing. */
  async home(pageCount: number): Promise<number> {
    const home = new Home({ pageCount, holdMs }, homeEffects(new Ages(pageCount)))
    home.join(node, 'write')
    const bytes = await bytesPerPage(pageCount, (first, count) => home.write(node, first, count, performance.now()))
    checkEach(pageCount, (page) => home.nodesWith(page)[0] === node)
    return bytes
  },
  /** Bytes that a cache takes for a page which it has for writing. */
  async cache(pageCount: number): Promise<number> {
    const cache = new Cache({ pageCount, holdMs }, cacheEffects)
    const bytes = await bytesPerPage(pageCount, (first, count) => {
      cache.prefetch(first, count, 'write')
      cache.data(first, count, 'exclusive', performance.now())
    })
    checkEach(pageCount, (page) => cache.state(page) === pageState.dirty)
    return bytes
  },
})
