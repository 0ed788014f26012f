import type { Message, Request } from '../../tools/torture/pool.js'

/** A worker process whose cases misbehave by their seed. */
const send = (message: Message) => process.send!(message)

const behaviors: readonly (() => void)[] = [
  () => send({ kind: 'reply', reply: { title: 'well', ended: 'accepted', faults: [] } }),
  () => {
    for (;;);
  },
  () => process.abort(),
  () => {
    const blocks: Uint8Array[] = []
    setInterval(() => blocks.push(new Uint8Array(2 ** 24).fill(1)), 1)
  },
  () => {},
]

process.on('message', ({ seed }: Request) => {
  send({ kind: 'ready' })
  send({ kind: 'stage', stage: 'misbehave', title: `case ${seed}` })
  behaviors[seed]!()
})
