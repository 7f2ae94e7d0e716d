import assert from 'node:assert/strict'
import { release } from 'node:os'
import { test } from 'node:test'
import { servicesIn, stage, xpmem } from './cli.js'

interface Finding {
  subject: string
  state: string
  value: string
  meaning: string
  remedy: string
}

async function examine(): Promise<{ code: number | null; findings: Finding[] }> {
  const { code, stdout } = await xpmem(['doctor', '--json'])
  return { code, findings: JSON.parse(stdout.toString()) as Finding[] }
}

test('doctor --json is an array of what the machine gives, each with its meaning', async () => {
  const { code, findings } = await examine()
  assert.equal(code, findings.some(({ state }) => state === 'bad') ? 1 : 0)
  const subjects = findings.map(({ subject }) => subject)
  for (const subject of ['kernel', 'memfd', 'userfaultfd', 'huge pages for shared memory', 'open files']) {
    assert.ok(subjects.includes(subject), `nothing is said of ${subject}`)
  }
  for (const finding of findings) {
    assert.deepEqual(Object.keys(finding), ['subject', 'state', 'value', 'meaning', 'remedy'])
    assert.ok(['good', 'less', 'bad'].includes(finding.state))
    assert.notEqual(finding.value, '')
    assert.notEqual(finding.meaning, '')
    if (finding.state === 'good') assert.equal(finding.remedy, '')
  }
})

test("doctor tells this machine's kernel and limit of open files", async () => {
  const { findings } = await examine()
  const of = (subject: string) => findings.find((finding) => finding.subject === subject)?.value ?? ''
  assert.ok(of('kernel').includes(release()))
  assert.match(of('open files'), /^(\d+|unlimited) of (\d+|unlimited)$/)
  assert.match(of('userfaultfd'), /^(full|user mode only|none)/)
})

test('doctor prints the same for people, with a remedy where there is one', async () => {
  const { findings } = await examine()
  const { stdout, stderr } = await xpmem(['doctor'])
  const text = stdout.toString()
  assert.equal(stderr, '')
  for (const { subject, value, meaning, remedy } of findings) {
    assert.ok(text.includes(`${subject}: ${value}\n      ${meaning}\n`))
    if (remedy !== '') assert.ok(text.includes(`      to get more: ${remedy}\n`))
  }
})

test('doctor needs no service and starts none', async (t) => {
  const { runtimeDir } = stage(t)
  assert.notEqual((await xpmem(['doctor'], { env: { XPMEM_RUNTIME_DIR: runtimeDir } })).stdout.length, 0)
  assert.deepEqual(servicesIn(runtimeDir), [])
})
