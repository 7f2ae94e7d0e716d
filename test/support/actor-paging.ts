/** Calls of an actor about memory of other partitions, and what it does there until the test has seen enough. */
import type { Attachment } from '../../src/index.js'
import { until } from './until.js'

/** An access to a register: when it began and ended, as the machine's clock says, and what was read or written. */
export type Access = readonly [kind: 'read' | 'write', began: number, ended: number, value: number]

interface Host {
  thing(handle: number): Attachment
  wordsOf(handle: number): Int32Array
}

const now = (): number => Number(process.hrtime.bigint())

/** Words of a record of a ring: it lies across the border of two pages as often as not. */
const recordWords = 250

/** Numbers that look random, the same for a seed. */
function numbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

export function pagingCalls({ thing, wordsOf }: Host) {
  /** Everybody who takes part is here. */
  const together = (words: Int32Array, barrier: number, parties: number) => {
    Atomics.add(words, barrier, 1)
    return until(() => Atomics.load(words, barrier) === parties)
  }
  /** Somebody else has stored to the word meanwhile, or all others are done. */
  const othersCame = (words: Int32Array, word: number, own: number, barrier: number, parties: number) =>
    until(() => Atomics.load(words, word) !== own || Atomics.load(words, barrier + 1) === parties - 1)
  let stores = 0
  let stopped = true
  let lost = 0

  return {
    prefetch: (attachment: number, offset?: number, length?: number, wanted?: 'read' | 'write') =>
      thing(attachment).prefetch(offset, length, wanted),
    flush: (attachment: number) => thing(attachment).flush(),
    stats: (attachment: number) => thing(attachment).stats(),
    refresh: (attachment: number) => thing(attachment).refresh(),
    load: (memory: number, index: number) => Atomics.load(wordsOf(memory), index),
    store: (memory: number, index: number, value: number) => Atomics.store(wordsOf(memory), index, value),
    untilWord: (memory: number, index: number, value: number) =>
      until(() => Atomics.load(wordsOf(memory), index) === value),
    /** Waits for the others, then adds 1 so many times, letting others in now and then; what was there before each time. */
    async count(memory: number, word: number, times: number, barrier: number, parties: number) {
      const words = wordsOf(memory)
      const before = new Int32Array(times)
      await together(words, barrier, parties)
      for (let turn = 0; turn < times; turn += 1) {
        const found = Atomics.add(words, word, 1)
        before[turn] = found
        if (turn % 500 === 0) await othersCame(words, word, found + 1, barrier, parties)
      }
      Atomics.add(words, barrier + 1, 1)
      return before
    },
    /** Waits for the others, then reads and writes a word at random; every value is written once. */
    async register(memory: number, word: number, times: number, barrier: number, parties: number, seed: number) {
      const words = wordsOf(memory)
      const random = numbers(seed)
      const history: Access[] = []
      await together(words, barrier, parties)
      for (let turn = 0; turn < times; turn += 1) {
        const isLast = turn % 100 === 99
        const isWrite = isLast || random() < 0.4
        let value = seed * 1_000_000 + turn
        const began = now()
        if (isWrite) Atomics.store(words, word, value)
        else value = Atomics.load(words, word)
        history.push([isWrite ? 'write' : 'read', began, now(), value])
        if (isLast) await othersCame(words, word, value, barrier, parties)
      }
      Atomics.add(words, barrier + 1, 1)
      return history
    },
    /** Writes records of a ring, each word of one being its number. Word 0: how many; word 1,024: how many were read. */
    async ringWrite(memory: number, records: number) {
      const words = wordsOf(memory)
      const slots = Math.floor((words.length - 2_048) / recordWords)
      for (let record = 1; record <= records; record += 1) {
        await until(() => record - Atomics.load(words, 1_024) <= slots)
        const start = 2_048 + (record % slots) * recordWords
        words.fill(record, start, start + recordWords)
        Atomics.store(words, 0, record)
      }
    },
    /** Reads them; tells of the first that is not whole or not next. */
    async ringRead(memory: number, records: number) {
      const words = wordsOf(memory)
      const slots = Math.floor((words.length - 2_048) / recordWords)
      for (let record = 1; record <= records; record += 1) {
        await until(() => Atomics.load(words, 0) >= record)
        const start = 2_048 + (record % slots) * recordWords
        const found = words.slice(start, start + recordWords)
        if (found.some((word) => word !== record)) return `record ${record} is ${[...new Set(found)].join(', ')}`
        Atomics.store(words, 1_024, record)
      }
      return 'whole'
    },
    /** Stores 1, 2, 3, … to a word of each page, a turn at a time, until it is stopped or its memory is revoked. */
    startLoad(memory: number, word: number, pages: number) {
      const words = wordsOf(memory)
      stopped = false
      stores = 0
      lost = 0
      const turn = () => {
        if (words.length === 0) stopped = true
        if (stopped) return
        for (let at = word; at < pages * 1_024; at += 1_024) {
          if (Atomics.load(words, at) !== stores) lost += 1
          Atomics.store(words, at, stores + 1)
        }
        stores += 1
        setImmediate(turn)
      }
      turn()
    },
    /** How often a word was not what was stored to it last. */
    loadLost: () => lost,
    /** How many turns there were. */
    loadDone: () => stores,
    async untilLoad(turns: number) {
      await until(() => stores >= turns || stopped)
      return stores
    },
    stopLoad() {
      stopped = true
      return stores
    },
  }
}
