import { Command } from 'commander'
import { runDemo } from './demo/run.js'

export function demoCommand(): Command {
  return new Command('demo')
    .description(
      'share an Arrow file with two readers, change it, kill the owner; then share it with another partition',
    )
    .action(runDemo)
}
