import { channel } from 'node:diagnostics_channel'

/**
 * Channels of node:diagnostics_channel, one a happening, named `xpmem:` and the call or event. Each
 * message is a plain object; nothing is built where nobody listens.
 */
export const channels = {
  make: channel('xpmem:make'),
  get: channel('xpmem:get'),
  attach: channel('xpmem:attach'),
  detach: channel('xpmem:detach'),
  release: channel('xpmem:release'),
  remove: channel('xpmem:remove'),
  revoked: channel('xpmem:revoked'),
  rolledBack: channel('xpmem:rolledBack'),
  disconnected: channel('xpmem:disconnected'),
  reconnected: channel('xpmem:reconnected'),
}

export function publish(name: keyof typeof channels, build: () => object): void {
  const target = channels[name]
  if (target.hasSubscribers) target.publish(build())
}
