import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { kernel } from '../../src/kernel/index.js'
import { type FarNode, HomeFile } from '../../src/pager/home-file.js'
import { copyPages } from '../../src/pager/snapshot-node.js'
import { Descriptor } from '../../src/transport/descriptor.js'

const pages = 4

function newHomeFile(t: TestContext): HomeFile {
  const home = new HomeFile(new Descriptor(kernel.createFile(pages * kernel.pageSize)), {
    holdMs: 0,
    rolledBack: () => {},
  })
  t.after(() => home.close())
  return home
}

const silentNode: FarNode = {
  access: 'read',
  data: () => {},
  grant: () => {},
  invalidate: () => {},
  recall: () => {},
  silent: () => {},
}

test('numbers of nodes that are gone are given again, and no two nodes have the same', async (t) => {
  const home = newHomeFile(t)
  const first = [home.join(silentNode), home.join(silentNode), home.join(silentNode)]
  assert.equal(new Set(first).size, 3)
  home.gone(first[1] as number)
  home.gone(first[0] as number)
  home.gone(first[0] as number)
  const next = [home.join(silentNode), home.join(silentNode), home.join(silentNode)]
  assert.deepEqual([...next, first[2] as number].sort(), [1, 2, 3, 4])
  for (let copy = 0; copy < 100; copy += 1)
    await copyPages(home, [0, pages], [new Uint8Array(pages * kernel.pageSize), 0])
  assert.equal(home.join(silentNode), 5)
  assert.equal(home.nodeCount, 5)
})
