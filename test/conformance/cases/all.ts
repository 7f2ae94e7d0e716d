import type { Case } from '../face.js'
import { attachCases } from './attach.js'
import { childCases } from './children.js'
import { detachCases } from './detach.js'
import { endCases } from './ends.js'
import { execCases } from './exec.js'
import { makeGetCases } from './make-get.js'
import { moveCases } from './moves.js'
import { wholeCases } from './whole.js'
import { windowCases } from './windows.js'

/** What the rows of the semantics say, once for all faces. */
export const cases: readonly Case[] = [
  ...makeGetCases,
  ...wholeCases,
  ...windowCases,
  ...attachCases,
  ...detachCases,
  ...endCases,
  ...execCases,
  ...moveCases,
  ...childCases,
]
