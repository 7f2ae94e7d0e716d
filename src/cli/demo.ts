import { Command } from 'commander'
import { runDemo } from './demo/run.js'

export function demoCommand(): Command {
  return new Command('demo')
    .description('share an Arrow file with two readers, change it under their eyes, kill the owner')
    .action(runDemo)
}
