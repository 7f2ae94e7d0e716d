/** What `Peer` and its process say to each other over IPC. */
export interface Call {
  readonly id: number
  readonly name: string
  readonly args: unknown[]
}

export interface Reply {
  readonly id: number
  readonly value?: unknown
  readonly error?: string
}

/** Answers the calls of the process that forked this one, and ends with it. */
export function serveCalls(calls: Record<string, (...args: never[]) => unknown>): void {
  process.on('message', async ({ id, name, args }: Call) => {
    try {
      const call = calls[name]
      if (call === undefined) throw new Error(`there is no call ${name}`)
      process.send?.({ id, value: await call(...(args as never[])) } satisfies Reply)
    } catch (error) {
      process.send?.({ id, error: String((error as Error).stack) } satisfies Reply)
    }
  })
  process.once('disconnect', () => process.exit())
}
