import { runFace } from './run-face.js'

runFace('TypeScript')
