import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Credentials, modeAllows } from '../../src/service/permission.js'
import { access } from '../../src/wire/schema.js'

const owner: Credentials = { uid: 10, gid: 20, groups: [] }
const ownerElsewhere: Credentials = { uid: 10, gid: 99, groups: [98] }
const member: Credentials = { uid: 11, gid: 20, groups: [] }
const supplementary: Credentials = { uid: 11, gid: 21, groups: [5, 20] }
const other: Credentials = { uid: 11, gid: 21, groups: [5, 22] }
const root: Credentials = { uid: 0, gid: 0, groups: [0] }

/** Of a segment of uid 10, gid 20: who may read, and who may read and write. */
const table: { mode: number; read: Credentials[]; readwrite: Credentials[] }[] = [
  { mode: 0o000, read: [], readwrite: [] },
  { mode: 0o400, read: [owner, ownerElsewhere], readwrite: [] },
  { mode: 0o200, read: [], readwrite: [] },
  { mode: 0o600, read: [owner, ownerElsewhere], readwrite: [owner, ownerElsewhere] },
  { mode: 0o700, read: [owner, ownerElsewhere], readwrite: [owner, ownerElsewhere] },
  { mode: 0o100, read: [], readwrite: [] },
  {
    mode: 0o640,
    read: [owner, ownerElsewhere, member, supplementary],
    readwrite: [owner, ownerElsewhere],
  },
  { mode: 0o060, read: [member, supplementary], readwrite: [member, supplementary] },
  { mode: 0o040, read: [member, supplementary], readwrite: [] },
  { mode: 0o006, read: [other, root], readwrite: [other, root] },
  { mode: 0o004, read: [other, root], readwrite: [] },
  { mode: 0o002, read: [], readwrite: [] },
  { mode: 0o066, read: [member, supplementary, other, root], readwrite: [member, supplementary, other, root] },
  { mode: 0o606, read: [owner, ownerElsewhere, other, root], readwrite: [owner, ownerElsewhere, other, root] },
  {
    mode: 0o666,
    read: [owner, ownerElsewhere, member, supplementary, other, root],
    readwrite: [owner, ownerElsewhere, member, supplementary, other, root],
  },
]

const everybody = { owner, ownerElsewhere, member, supplementary, other, root }

for (const { mode, read, readwrite } of table) {
  test(`mode 0${mode.toString(8).padStart(3, '0')} lets in whom System V IPC would`, () => {
    const ownership = { uid: 10, gid: 20, mode }
    for (const [name, who] of Object.entries(everybody)) {
      assert.equal(modeAllows(who, ownership, access.read), read.includes(who), `${name} reads`)
      assert.equal(modeAllows(who, ownership, access.readwrite), readwrite.includes(who), `${name} reads and writes`)
    }
  })
}

test('what an owner is refused, group and other bits do not give back', () => {
  assert(!modeAllows(owner, { uid: 10, gid: 20, mode: 0o077 }, access.read))
})

test('what the group is refused, other bits do not give back', () => {
  for (const who of [member, supplementary]) {
    assert(!modeAllows(who, { uid: 10, gid: 20, mode: 0o706 }, access.read))
  }
})

test('uid 0 is nobody special to the mode bits', () => {
  assert(!modeAllows(root, { uid: 10, gid: 20, mode: 0o660 }, access.read))
})
