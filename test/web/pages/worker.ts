import { answer, type Call } from './call.js'

addEventListener('message', async ({ data }: MessageEvent<{ readonly id: number; readonly call: Call }>) => {
  // What calls have listeners of their own for is no call.
  if (data.call) postMessage({ id: data.id, answer: await answer(data.call) })
})
postMessage({ id: 0 })
