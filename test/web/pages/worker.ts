import { answer, type Call } from './call.js'

addEventListener('message', async ({ data }: MessageEvent<{ readonly id: number; readonly call: Call }>) => {
  // Messages without `call` have their own listeners.
  if (data.call) postMessage({ id: data.id, answer: await answer(data.call) })
})
postMessage({ id: 0 })
