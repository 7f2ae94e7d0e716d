/** Runs the cases of the semantics on one face. */
import { geteuid } from 'node:process'
import { after, type TestContext, test } from 'node:test'
import { kernel } from '../../src/kernel/index.js'
import { type ActorOptions, startActor } from '../support/actor.js'
import { CActor, forkCActor, sanitizers, startCActor } from '../support/c-actor.js'
import { startService } from '../support/service.js'
import { cases } from './cases/all.js'
import { type Case, type Face, type FaceName, faces, type Language, type Process, type StartOptions } from './face.js'
import { rows } from './rows.js'

/** Ends a case that hangs. */
const watchdogMs = 120_000

async function start(
  t: TestContext,
  language: Language,
  actor: ActorOptions,
  { keep }: StartOptions = {},
): Promise<Process> {
  if (language === 'C') {
    return startCActor(t, { ...actor, ...(keep === undefined ? {} : { env: { XPMEM_OWNER_EXIT: 'keep' } }) })
  }
  const started = await startActor(t, actor)
  if (keep !== undefined) await started.call('keepOnOwnerExit')
  return started
}

async function faceFor(t: TestContext, name: FaceName): Promise<Face> {
  const service = await startService(t)
  const { runtimeDir } = service
  const { owner, consumer } = faces[name]
  return {
    t,
    service,
    owner,
    consumer,
    pageSize: kernel.pageSize,
    startOwner: () => start(t, owner, { runtimeDir }),
    startConsumer: (options) => start(t, consumer, { runtimeDir }, options),
    async startStranger(uid, gid, groups) {
      if (geteuid?.() !== 0) throw new Error('run this as root: it needs a second user')
      return start(t, consumer, { runtimeDir, uid, gid, groups })
    },
    async fork(parent) {
      if (!(parent instanceof CActor)) throw new Error('only a C process forks')
      return forkCActor(t, parent)
    },
  }
}

/** Why a case does not run here; nothing if it does. */
function hindrance({ notUnder = {} }: Case): string | undefined {
  const sanitizer = sanitizers.find((name) => notUnder[name] !== undefined)
  return sanitizer && `not with -fsanitize=${sanitizer}: ${notUnder[sanitizer]}`
}

export function runFace(name: FaceName): void {
  const ran = new Set<string>()
  for (const found of cases.filter(({ on }) => on.includes(name))) {
    const skip = hindrance(found)
    if (skip !== undefined) console.log(`NOT RUN, ${name}, ${found.row}, ${found.name}: ${skip}`)
    test(`${name}, ${found.row}: ${found.name}`, { skip: skip ?? false, timeout: watchdogMs }, async (t) => {
      ran.add(found.row)
      await found.run(await faceFor(t, name))
    })
  }
  after(() => console.log(`${name}: ran ${ran.size} of the ${Object.keys(rows).length} rows of the semantics`))
}
