/** A membership in the test's own process, over real sockets. */
import type { TestContext } from 'node:test'
import type { XpcMessage } from '../../src/xpc/connection.js'
import type { Address } from '../../src/xpc/directory.js'
import type { Link } from '../../src/xpc/link.js'
import { Membership } from '../../src/xpc/membership.js'
import { until } from '../support/until.js'
import { ownAddress } from './raw-peer.js'

export interface MemberOptions {
  readonly name: string
  readonly id: number
  readonly incarnation?: number
  readonly listen?: Address
  readonly peers?: Readonly<Record<string, Address | undefined>>
  readonly heartbeatMs?: number
  /** What takes down what hangs on a link. */
  down?(link: Link): Promise<void>
}

export class TestMember {
  readonly membership: Membership
  readonly address: Address
  /** Each change: the peer's name, the state, the reason. */
  readonly changes: string[] = []
  readonly messages: XpcMessage[] = []
  readonly late: XpcMessage[] = []

  constructor(options: MemberOptions) {
    const { name, id, incarnation = 1, peers = {}, heartbeatMs = 1_000, down = async () => {} } = options
    this.address = options.listen ?? ownAddress()
    this.membership = new Membership({
      name,
      partitionId: id,
      incarnation: () => incarnation,
      listen: this.address,
      peers: Object.entries(peers).map(([peer, address]) => ({ name: peer, address })),
      heartbeatMs,
      events: {
        changed: (link) => this.changes.push(`${link.peer.name} ${link.state.name}: ${link.state.reason}`),
        message: (_, message) => this.messages.push(message),
        late: (_, answer) => this.late.push(answer),
        down,
      },
    })
  }

  link(name: string): Link {
    return this.membership.byName(name, 'test')
  }

  async untilState(name: string, state: string): Promise<void> {
    await until(() => this.link(name).state.name === state)
  }

  async untilReason(name: string, reason: RegExp): Promise<void> {
    await until(() => this.changes.some((change) => change.startsWith(`${name} `) && reason.test(change)))
  }
}

/** It is closed with the test. */
export async function startMember(t: TestContext, options: MemberOptions): Promise<TestMember> {
  const member = new TestMember(options)
  t.after(() => member.membership.close())
  await member.membership.start()
  return member
}
