import type { CacheEffects } from '../../src/coherence/cache-effects.js'
import type { HomeEffects } from '../../src/coherence/home-effects.js'

/** Effects that are only written down, one line each: what, pages as first+count, the rest. */
export class Recorder {
  #lines: string[] = []

  readonly home: HomeEffects = {
    protect: (first, count) => this.#note('protect', first, count),
    unprotect: (first, count) => this.#note('unprotect', first, count),
    aside: (first, count) => this.#note('aside', first, count),
    updateAside: (first, count, nth) => this.#note('updateAside', first, count, nth),
    install: (first, count, nth, placing) => this.#note('install', first, count, nth, placing),
    restore: (first, count, placing) => this.#note('restore', first, count, placing),
    putBack: (first, count, placing) => this.#note('putBack', first, count, placing),
    data: (node, first, count, share) => this.#note('data', first, count, 'to', node, share),
    grant: (node, first, count) => this.#note('grant', first, count, 'to', node),
    take: (first, count) => this.#note('take', first, count),
    wake: (first, count) => this.#note('wake', first, count),
    invalidate: (node, first, count) => this.#note('invalidate', first, count, 'to', node),
    recall: (node, first, count, keep) => this.#note('recall', first, count, 'to', node, keep),
    delay: (first, count, untilMs) => this.#note('delay', first, count, untilMs),
  }

  readonly cache: CacheEffects = {
    request: (access, first, count) => this.#note(`ask to ${access}`, first, count),
    install: (first, count, nth, placing) => this.#note('install', first, count, nth, placing),
    protect: (first, count) => this.#note('protect', first, count),
    unprotect: (first, count) => this.#note('unprotect', first, count),
    drop: (first, count) => this.#note('drop', first, count),
    sendReturned: (first, count, returned) => this.#note('returned', first, count, returned),
    sendInvalidated: (first, count) => this.#note('invalidated', first, count),
    sendPut: (first, count, put) => this.#note('put', first, count, put),
    sendDropped: (first, count) => this.#note('dropped', first, count),
    wake: (first, count) => this.#note('wake', first, count),
    delay: (first, count, untilMs) => this.#note('delay', first, count, untilMs),
  }

  #note(what: string, first: number, count: number, ...rest: readonly unknown[]): void {
    this.#lines.push([what, `${first}+${count}`, ...rest].join(' '))
  }

  /** What was written down since the last time. */
  take(): string[] {
    const lines = this.#lines
    this.#lines = []
    return lines
  }
}
