import { appendFile, readdir } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type RunServer, serveRuns } from '../../src/cli/watch/serve-runs.js'
import { start } from './command.js'
import { writeRun } from './stored-runs.js'
import { recipe, type Workspace, workspace } from './workspace.js'

let space: Workspace
let server: RunServer
let [origin, token, stored] = ['', '', '']
beforeAll(async () => {
  space = await workspace()
  stored = await writeRun(space.path('runs/it is'), { recipe, loss: 1, accuracy: 0.8 })
  // Another run has not begun yet.
  server = await serveRuns([space.path('runs'), space.path('later')], 0)
  const url = new URL(server.url)
  ;[origin, token] = [url.origin, url.searchParams.get('token')!]
})
afterAll(async () => {
  await server.close()
  await space.remove()
})

interface Answer {
  readonly status: number
  readonly text: string
  readonly headers: IncomingMessage['headers']
}

/** Sends a request; unlike fetch also under another host name. */
const send = (method: string, path: string, headers: Record<string, string> = {}, body = '') =>
  new Promise<Answer>((resolve, reject) => {
    const sent = request(`${origin}${path}`, { method, headers }, async (message) => {
      let text = ''
      for await (const chunk of message) text += chunk
      resolve({ status: message.statusCode!, text, headers: message.headers })
    })
    sent.on('error', reject)
    sent.end(body)
  })
const authorized = () => ({ 'x-onnx-ire-token': token })
const ask = (run: string, what: string) =>
  send('POST', '/request', authorized(), JSON.stringify({ run, request: what }))

test('watch > a request without the token, or under another host name > refused', async () => {
  expect(origin).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  const port = new URL(origin).port
  const statuses = await Promise.all([
    send('GET', `/?token=${token}`),
    send('GET', `/?token=${token}`, { host: `localhost:${port}` }),
    send('GET', '/'),
    send('GET', `/?token=${token.slice(1)}`),
    send('GET', `/?token=${token.replace(/^./, (c) => (c === '0' ? '1' : '0'))}`),
    send('GET', `/?token=${token}`, { host: `evil.example:${port}` }),
    // A form or an image of another site can send neither header.
    send('POST', `/request?token=${token}`, {}, JSON.stringify({ run: stored, request: 'stop' })),
  ])
  expect(statuses.map(({ status }) => status)).toEqual([200, 200, 401, 401, 401, 403, 404])
  const { headers, text } = statuses[0]!
  expect(headers).toMatchObject({ 'cache-control': 'no-store', 'x-frame-options': 'DENY' })
  expect(headers).not.toHaveProperty('access-control-allow-origin')
  const nonce = /script-src 'nonce-(\w+)'/.exec(text)![1]
  expect(text).toContain(`<script nonce="${nonce}">`)
})

test('watch > an error in place of the runs > shown as text, not as HTML', async () => {
  const script = /<script[^>]*>(.*)<\/script>/s.exec((await send('GET', `/?token=${token}`)).text)![1]!
  const shown: Record<string, string>[] = []
  for (const ok of [false, true]) {
    const element = { addEventListener() {}, querySelectorAll: () => [] }
    const runs: Record<string, string> & typeof element = Object.assign(Object.create(null), element)
    const document = { getElementById: (id: string) => (id === 'runs' ? runs : {}) }
    const fetch = async () => ({ ok, text: async () => 'a <b>' })
    let events: { onmessage?: () => Promise<void> } = {}
    function EventSource(this: object) {
      events = this
    }
    runInNewContext(script, { document, fetch, EventSource })
    await events.onmessage!()
    shown.push(Object.fromEntries(Object.entries(runs).filter(([, value]) => typeof value === 'string')) as never)
  }
  expect(shown).toEqual([{ textContent: 'a <b>' }, { innerHTML: 'a <b>' }])
})

test('watch > paths are no files, and requests reach running runs among the given ones only', async () => {
  for (const path of ['/metrics.jsonl', '/../../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '/runs/../recipe.json'])
    expect([path, (await send('GET', path, authorized())).status]).toEqual([path, 404])
  const outside = await writeRun(space.path('elsewhere'), { recipe, loss: 1, accuracy: 0.8 })
  const answers = [
    await ask(outside, 'stop'),
    await ask(`${stored}/../../elsewhere`, 'stop'),
    await ask(stored, 'stop'),
  ]
  expect(answers.map(({ status }) => status)).toEqual([404, 404, 409])
  expect((await ask(stored, 'rm')).status).toBe(400)
  expect(await readdir(stored)).not.toContain('request')
})

test('watch > the page contains commands and recipe; an event announces new lines', async () => {
  const { text } = await send('GET', '/runs', authorized())
  expect(text).toContain(`onnx-ire train &#39;${stored}&#39;/recipe.json --resume`)
  expect(text).toContain('&quot;kappa&quot;: 2')
  expect(text).toContain('<td>4</td>')
  const hidden = await send('GET', `/runs?hide=${encodeURIComponent(stored)}`, authorized())
  expect(hidden.text).not.toContain('<svg')
  const events = await fetch(`${origin}/events?token=${token}`)
  const reader = events.body!.pipeThrough(new TextDecoderStream()).getReader()
  let seen = ''
  const heard = async (count: number) => {
    while (seen.split('changed').length <= count) seen += (await reader.read()).value
  }
  // The first look at the runs is a change, too.
  await heard(1)
  expect(seen).toMatch(/^data: start/)
  await appendFile(`${stored}/metrics.jsonl`, '\n{"kind":"step","step":77,"loss":1,"seconds":1}\n')
  await heard(2)
  await reader.cancel()
  expect((await send('GET', '/runs', authorized())).text).toContain('<td>77</td>')
})

test('watch > a running run > saves a checkpoint, and stops with one', async () => {
  const path = await space.writeRecipe('long.json', { epochs: 1_000_000, threads: 1 })
  const out = space.path('runs/long')
  const { finished } = start(['train', path, '--out', out, '--checkpoint-every', '1e6', '--json'])
  const checkpoints = () => readdir(`${out}/checkpoints`).catch((): string[] => [])
  const answered = (what: string) => expect.poll(async () => (await ask(out, what)).status).toBe(200)
  await expect.poll(checkpoints).not.toEqual([])
  // Checkpoints at the end of epochs are at multiples of ten steps.
  const isWithinEpoch = async () => {
    await answered('save')
    return (await checkpoints()).some((name) => !/0\.safetensors$/.test(name))
  }
  await expect.poll(isWithinEpoch, { interval: 100 }).toBe(true)
  await answered('stop')
  const { code, stdout } = await finished
  expect(code).toBe(130)
  const { interrupted, step } = JSON.parse(stdout) as { interrupted: boolean; step: number }
  expect(interrupted).toBe(true)
  expect(await checkpoints()).toContain(`checkpoint-${String(step).padStart(8, '0')}.safetensors`)
  expect(await readdir(out)).not.toContain('request')
})

test('watch > prints its address; Ctrl-C ends it', async () => {
  const { process, finished } = start(['watch', space.path('runs')])
  await new Promise((resolve) => process.stdout!.once('data', resolve))
  process.kill('SIGINT')
  const { code, stdout } = await finished
  expect(code).toBe(0)
  expect(stdout).toMatch(/open http:\/\/127\.0\.0\.1:\d+\/\?token=[0-9a-f]{48}\n$/)
})
