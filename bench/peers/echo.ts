/** The other end of a bare SOCK_SEQPACKET round trip. */
import { kernel, metaLength } from '../../src/kernel/index.js'
import { serveCalls } from '../support/calls.js'
import { maxDatagram } from '../support/datagram.js'

serveCalls({
  connect(path: string) {
    const socket = kernel.connect(path)
    const buffer = new Uint8Array(maxDatagram)
    const meta = new Int32Array(metaLength)
    const poll = kernel.poll(socket, () => {
      const length = kernel.receive(socket, buffer, meta)
      if (length > 0) kernel.send(socket, buffer, length, [])
      else if (length === 0) process.exit()
    })
    poll.start(1)
    poll.ref()
  },
})
