/** Whether a history of a register is one that a register can have. */
import type { Access } from '../support/actor-paging.js'

/** All accesses to one value. */
interface Zone {
  readonly value: number
  /** The first end and the last beginning of an access to it. */
  readonly firstEnd: number
  readonly lastBegin: number
}

/**
 * What is wrong with a history in which every value is written once at the most, and 0 was there
 * before; undefined if all of it could have happened one access after the other, each between its
 * beginning and its end. As Gibbons and Korach have it (Testing Shared Memories, 1997): the accesses
 * to a value keep the register from the first end to the last beginning, if that is later, and two
 * such times must not overlap; a value whose accesses all overlap each other needs only a moment
 * between the two, which must not lie wholly in the time of another.
 */
export function whyNotLinearizable(history: readonly Access[]): string | undefined {
  const writes = new Map<number, Access>([[0, ['write', -2, -1, 0]]])
  const accesses = new Map<number, Access[]>()
  for (const access of history) {
    const [kind, , , value] = access
    if (kind === 'write' && writes.has(value)) return `${value} was written twice`
    if (kind === 'write') writes.set(value, access)
    accesses.set(value, [...(accesses.get(value) ?? []), access])
  }
  for (const [kind, , ended, value] of history) {
    const write = writes.get(value)
    if (kind === 'read' && write === undefined) return `${value} was read and never written`
    if (kind === 'read' && write !== undefined && ended < write[1]) return `${value} was read before it was written`
  }
  const zones = [...writes].map(([value, write]) => zoneOf(value, [write, ...(accesses.get(value) ?? [])]))
  return overlap(
    zones.filter((zone) => zone.firstEnd < zone.lastBegin),
    zones.filter((zone) => zone.firstEnd >= zone.lastBegin),
  )
}

function zoneOf(value: number, accesses: readonly Access[]): Zone {
  const firstEnd = accesses.reduce((least, [, , ended]) => Math.min(least, ended), Number.POSITIVE_INFINITY)
  const lastBegin = accesses.reduce((most, [, began]) => Math.max(most, began), Number.NEGATIVE_INFINITY)
  return { value, firstEnd, lastBegin }
}

function overlap(forward: Zone[], backward: Zone[]): string | undefined {
  forward.sort((a, b) => a.firstEnd - b.firstEnd)
  for (const [index, zone] of forward.entries()) {
    const next = forward[index + 1]
    if (next !== undefined && next.firstEnd < zone.lastBegin)
      return `${zone.value} and ${next.value} were there at once`
  }
  for (const { value, firstEnd, lastBegin } of backward) {
    const around = lastNotAfter(forward, lastBegin)
    if (around !== undefined && around.firstEnd < lastBegin && firstEnd < around.lastBegin)
      return `${value} was there while ${around.value} was`
  }
  return undefined
}

/** The last zone that begins no later. */
function lastNotAfter(zones: readonly Zone[], time: number): Zone | undefined {
  let low = 0
  let high = zones.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((zones[middle] as Zone).firstEnd <= time) low = middle + 1
    else high = middle
  }
  return zones[low - 1]
}

/** The same by trying every order, for histories of a few accesses. */
export function canHappen(history: readonly Access[], value = 0): boolean {
  if (history.length === 0) return true
  const firstEnd = Math.min(...history.map(([, , ended]) => ended))
  return history.some((access, index) => {
    const [kind, began, , own] = access
    if (began > firstEnd || (kind === 'read' && own !== value)) return false
    return canHappen([...history.slice(0, index), ...history.slice(index + 1)], own)
  })
}
