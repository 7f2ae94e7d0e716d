import assert from 'node:assert/strict'
import type { Placing } from '../../src/coherence/terms.js'

/** No content: whoever touches the page waits. */
export const hole = -1

/** The mappings of one file, page by page: a version for the content, and whether stores trap. */
export class Memory {
  content: number[]
  marked: boolean[]

  constructor(pages: number, content: number) {
    this.content = Array(pages).fill(content)
    this.marked = Array(pages).fill(false)
  }

  mayRead(page: number): boolean {
    return this.content[page] !== hole
  }

  mayWrite(page: number): boolean {
    return this.mayRead(page) && !this.marked[page]
  }

  mark(first: number, count: number): void {
    this.marked.fill(true, first, first + count)
  }

  unmark(first: number, count: number): void {
    for (let page = first; page < first + count; page += 1)
      assert.notEqual(this.content[page], hole, 'a hole is not made writable')
    this.marked.fill(false, first, first + count)
  }

  /** A hole punch drops the markers too. */
  punch(first: number, count: number): void {
    this.content.fill(hole, first, first + count)
    this.marked.fill(false, first, first + count)
  }

  place(first: number, versions: readonly number[], placing: Placing): void {
    if (placing === 'protected') this.mark(first, versions.length)
    versions.forEach((version, index) => {
      assert.equal(this.content[first + index], hole, 'content comes into a hole')
      this.content[first + index] = version
    })
  }

  /** What somebody reads who is to send it or to keep it: nobody may store meanwhile. A hole gives zeros. */
  read(first: number, count: number): number[] {
    for (let page = first; page < first + count; page += 1)
      if (this.mayRead(page)) assert(this.marked[page], 'content that is copied is protected')
    return this.content.slice(first, first + count).map((version) => (version === hole ? 0 : version))
  }
}
