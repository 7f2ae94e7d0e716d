/** Random programs over real partitions, one access at a time; what is read is what a plain array says. */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Actor } from '../support/actor.js'
import { Random } from '../unit/random.js'
import type { Side } from '../xpc/pair.js'
import { another, attach, page, share, startWorld } from './world.js'

const pages = 24
const steps = 600
const given = process.env.XPMEM_COHERENCE_SEED
const seeds = given === undefined ? [1, 2, 3] : [Number(given)]

/** Where the second segment lies, in the memory of the first. */
const part = { first: 8, count: 7 }

/** A process, and the memory as it has it: a range of pages of the whole. */
interface View {
  readonly name: string
  readonly actor: Actor
  readonly access: 'read' | 'readwrite'
  readonly segid: bigint
  readonly first: number
  readonly count: number
  permit: number
  /** 0 while it is not attached. */
  memory: number
}

async function viewOf(
  t: TestContext,
  side: Side,
  view: Pick<View, 'access' | 'segid' | 'first' | 'count'>,
): Promise<View> {
  const actor = await another(t, side)
  const { permit, attachment } = await attach(actor, view.segid, view.access)
  return { ...view, actor, permit, memory: attachment, name: `${side.service.partition} (${view.access})` }
}

async function start(t: TestContext): Promise<{ views: View[]; owner: View }> {
  const args = ['--cache-bytes', `${10 * page}`, '--flush', '20']
  const [home, far, third] = (await startWorld(t, 3, { args })) as [Side, Side, Side]
  const { memory, handle, segid } = await share(home.actor, pages)
  const address = await home.actor.call<bigint>('addressOfMemory', memory)
  const begin = address + BigInt(part.first * page)
  const { segid: inner } = await home.actor.call<{ segid: bigint }>('makeRange', begin, part.count * page, {
    mode: 0o606,
  })
  const whole = { segid, first: 0, count: pages }
  const owner: View = { ...whole, name: 'owner', actor: home.actor, access: 'readwrite', permit: handle, memory }
  const views = [
    await viewOf(t, home, { ...whole, access: 'readwrite' }),
    await viewOf(t, home, { ...whole, access: 'read' }),
    await viewOf(t, far, { ...whole, access: 'readwrite' }),
    await viewOf(t, far, { segid: inner, ...part, access: 'readwrite' }),
    await viewOf(t, far, { ...whole, access: 'read' }),
    await viewOf(t, third, { ...whole, access: 'readwrite' }),
    await viewOf(t, third, { segid: inner, ...part, access: 'read' }),
  ]
  return { views, owner }
}

class Program {
  readonly #random: Random
  readonly #model = new Uint8Array(pages * page)
  readonly #views: View[]
  readonly #owner: View
  readonly #log: string[] = []

  constructor(seed: number, { views, owner }: { views: View[]; owner: View }) {
    this.#random = new Random(seed)
    this.#views = views
    this.#owner = owner
  }

  /** Rejects with what went before if something was read that was not stored last. */
  async run(count: number): Promise<void> {
    try {
      for (let step = 0; step < count; step += 1) await this.#step()
      for (const view of [this.#owner, ...this.#views]) await this.#read(view, 0, view.count * page)
    } catch (error) {
      throw new Error(`after\n${this.#log.slice(-40).join('\n')}`, { cause: error })
    }
  }

  async #step(): Promise<void> {
    const random = this.#random
    const view = random.pick([this.#owner, ...this.#views])
    const offset = random.below(view.count * page)
    const length = 1 + random.below(Math.min(view.count * page - offset, random.pick([8, page, 5 * page])))
    const what = random.below(100)
    if (what < 40) return view.access === 'read' ? this.#read(view, offset, length) : this.#write(view, offset, length)
    if (what < 80) return this.#read(view, offset, length)
    if (view === this.#owner) return
    this.#log.push(`${view.name} ${what} at ${offset} for ${length}`)
    if (what < 85) await view.actor.call('flush', view.memory)
    else if (what < 92) await view.actor.call('prefetch', view.memory, offset, length, random.pick(['read', 'write']))
    else if (what < 96) await this.#attachAgain(view)
    else if (what < 98) await this.#getAgain(view)
    else await this.#snapshot(view)
  }

  async #attachAgain(view: View): Promise<void> {
    await view.actor.call('detach', view.memory)
    view.memory = await view.actor.call<number>('attach', view.permit)
  }

  async #getAgain(view: View): Promise<void> {
    await view.actor.call('release', view.permit)
    const { permit, attachment } = await attach(view.actor, view.segid, view.access)
    view.permit = permit
    view.memory = attachment
  }

  async #snapshot(view: View): Promise<void> {
    const memory = await view.actor.call<number>('attach', view.permit, { consistency: 'snapshot' })
    await this.#read({ ...view, memory }, 0, view.count * page)
    await view.actor.call('detach', memory)
  }

  async #read(view: View, offset: number, length: number): Promise<void> {
    this.#log.push(`${view.name} reads ${length} at ${offset} of page ${view.first}`)
    const found = await view.actor.call<Uint8Array>('read', view.memory, offset, length)
    const start = view.first * page + offset
    const expected = this.#model.subarray(start, start + length)
    const wrong = found.findIndex((byte, index) => byte !== expected[index])
    if (wrong < 0) return
    const at = start + wrong
    assert.fail(`page ${Math.floor(at / page)} byte ${at % page} is ${found[wrong]}, not ${expected[wrong]}`)
  }

  async #write(view: View, offset: number, length: number): Promise<void> {
    this.#log.push(`${view.name} writes ${length} at ${offset} of page ${view.first}`)
    const bytes = this.#random.bytes(length)
    this.#model.set(bytes, view.first * page + offset)
    await view.actor.call('write', view.memory, offset, bytes)
  }
}

for (const seed of seeds) {
  test(`a random program over three partitions reads what it stored (seed ${seed})`, async (t) => {
    const program = new Program(seed, await start(t))
    await program.run(steps)
  })
}
