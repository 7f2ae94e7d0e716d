import { runFace } from './run-face.js'

runFace('C to TypeScript')
