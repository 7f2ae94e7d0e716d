import { asXpmemError } from '../errors.js'
import type { Message, MessageInput } from '../wire/codec.js'
import type { MessageName } from '../wire/schema.js'
import type { Client } from './connection.js'

/** What a request is answered with. */
export type Reply = { [N in MessageName]: { name: N; input: MessageInput<N> } }[MessageName]

export function reply<N extends MessageName>(name: N, input: MessageInput<N>): Reply {
  return { name, input } as Reply
}

/** Characters of a failure's text at the most; what a client or an agent said may be in it. */
const maxFailureText = 1_000

export function sendFailure(client: Client, message: Message, thrown: unknown): void {
  const error = asXpmemError(thrown, message.name)
  client.channel.send('failure', message.request, { errno: error.errno, text: error.reason.slice(0, maxFailureText) })
}

function send(client: Client, request: number, answer: Reply): void {
  client.channel.send(answer.name, request, answer.input)
}

/** Answers with what the work gives or fails with. */
export function answerNow(client: Client, message: Message, work: () => Reply): undefined {
  try {
    send(client, message.request, work())
  } catch (error) {
    sendFailure(client, message, error)
  }
}

export async function answerLater(client: Client, message: Message, work: () => Promise<Reply>): Promise<void> {
  try {
    send(client, message.request, await work())
  } catch (error) {
    sendFailure(client, message, error)
  }
}
