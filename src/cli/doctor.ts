import { Command } from 'commander'
import { examine, type Finding } from './examine.js'

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('what this machine gives, what that means, and how to get more')
    .option('--json', 'as JSON: an array of { subject, state, value, meaning, remedy }')
    .action(({ json }: { json?: boolean }) => {
      const findings = examine()
      process.stdout.write(json ? `${JSON.stringify(findings, undefined, 2)}\n` : findings.map(tell).join(''))
      if (findings.some(({ state }) => state === 'bad')) process.exitCode = 1
    })
}

const marks = { good: 'ok  ', less: 'less', bad: 'BAD ' }

function tell({ subject, state, value, meaning, remedy }: Finding): string {
  const more = remedy === '' ? '' : `      to get more: ${remedy}\n`
  return `${marks[state]}  ${subject}: ${value}\n      ${meaning}\n${more}`
}
