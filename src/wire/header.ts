import { headerBytes, type Placed, placeMessage, placeRow } from './layout.js'
import {
  access,
  attachFlag,
  extentFlag,
  gotFlag,
  hole,
  makeFlag,
  mappingFlag,
  maxDescriptors,
  maxMessageBytes,
  messages,
  protocolVersion,
  reason,
  role,
  rows,
  shareFlag,
  withheldReason,
  withheldShift,
} from './schema.js'

const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
const upper = (name: string) => snake(name).toUpperCase()
const cType = { u32: 'uint32_t', u64: 'uint64_t', size: 'uint64_t' } as const

function struct(kind: 'msg' | 'row', name: string, placed: Placed): string {
  const tag = `struct xm_${kind}_${snake(name)}`
  const members = placed.fields.map((field) => `    ${cType[field.type]} ${snake(field.name)};`)
  if (kind === 'msg') members.unshift('    struct xm_header header;')
  const checks = placed.fields.map(
    (field) => `_Static_assert(offsetof(${tag}, ${snake(field.name)}) == ${field.offset}, "${name}.${field.name}");`,
  )
  return [
    `${tag} {`,
    ...members,
    '};',
    `_Static_assert(sizeof(${tag}) >= ${placed.bytes} && sizeof(${tag}) < ${placed.bytes + 8}, "${name}");`,
    ...checks,
    `#define XM_${kind === 'msg' ? 'BYTES' : 'ROW_BYTES'}_${upper(name)} ${placed.bytes}`,
  ].join('\n')
}

function constants(prefix: string, values: Record<string, number>): string {
  return Object.entries(values)
    .map(([name, value]) => `#define XM_${prefix}_${upper(name)} ${value}`)
    .join('\n')
}

/** The C header of the messages: the layouts of schema.ts, with assertions that the compiler agrees. */
export function wireHeader(): string {
  const codes = Object.fromEntries(Object.entries(messages).map(([name, { code }]) => [name, code]))
  return `${[
    '/* Generated from src/wire/schema.ts by `npm run wire`. Do not edit. */',
    '#ifndef XM_WIRE_H\n#define XM_WIRE_H',
    '#include <stddef.h>\n#include <stdint.h>',
    `#define XM_PROTOCOL_VERSION ${protocolVersion}\n#define XM_MAX_MESSAGE_BYTES ${maxMessageBytes}\n#define XM_MAX_DESCRIPTORS ${maxDescriptors}`,
    constants('ROLE', role),
    constants('ACCESS', access),
    constants('REASON', reason),
    constants('MAKE_FLAG', makeFlag),
    constants('GOT_FLAG', gotFlag),
    constants('ATTACH_FLAG', attachFlag),
    constants('SHARE_FLAG', shareFlag),
    constants('EXTENT_FLAG', extentFlag),
    constants('WITHHELD', withheldReason),
    `#define XM_WITHHELD_SHIFT ${withheldShift}`,
    constants('MAPPING_FLAG', mappingFlag),
    `#define XM_HOLE UINT32_C(${hole})`,
    constants('CODE', codes),
    `struct xm_header {\n    uint16_t code;\n    uint16_t reserved;\n    uint32_t request;\n};\n_Static_assert(sizeof(struct xm_header) == ${headerBytes}, "header");`,
    ...Object.entries(rows).map(([name, fields]) => struct('row', name, placeRow(name, fields))),
    ...Object.entries(messages).map(([name, { fields }]) => struct('msg', name, placeMessage(name, fields))),
    '#endif',
  ].join('\n\n')}\n`
}
