import { writeFileSync } from 'node:fs'
import { wireHeader } from '../src/wire/header.js'

const target = new URL('../../native/core/wire.h', import.meta.url)
writeFileSync(target, wireHeader())
