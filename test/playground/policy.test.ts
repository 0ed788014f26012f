import { createServer, type Server } from 'node:http'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { describeWithChromium } from '../web/browser.js'
import { openPlayground, patience } from './playground.js'

/** Another origin, whose answers anybody may read: only the page's own policy keeps requests from it. */
let elsewhere: { readonly server: Server; readonly url: string } | undefined
const reached: string[] = []
beforeAll(async () => {
  const server = createServer((request, response) => {
    reached.push(request.url!)
    response.writeHead(200, {
      'Access-Control-Allow-Origin': '*',
      'Cross-Origin-Resource-Policy': 'cross-origin',
      'Content-Type': 'text/javascript',
    })
    response.end('/* here */')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  elsewhere = { server, url: `http://127.0.0.1:${(server.address() as { port: number }).port}` }
})
beforeEach(() => {
  reached.length = 0
})
afterAll(() => elsewhere?.server.close())

/**
 * Sends requests in every way that a page or worker can, and returns those the policy blocked, once there are as many as
 * expected. Runs in the browser.
 */
async function leak(url: string, load: (module: string) => Promise<unknown>, expected: number) {
  const refused: string[] = []
  const violation = (event: Event) => {
    const { effectiveDirective, blockedURI } = event as SecurityPolicyViolationEvent
    refused.push(`${effectiveDirective} ${new URL(blockedURI).pathname}`)
  }
  addEventListener('securitypolicyviolation', violation)
  const failed = await Promise.all([
    fetch(`${url}/fetch`).then(
      () => 'fetch went through',
      () => '',
    ),
    load(`${url}/import.js`).then(
      () => 'import went through',
      () => '',
    ),
    new Promise<string>((resolve) => {
      const request = new XMLHttpRequest()
      request.onload = () => resolve('xhr went through')
      request.onerror = () => resolve('')
      request.open('POST', `${url}/xhr`)
      request.send('pixels')
    }),
    new Promise<string>((resolve) => {
      const source = new EventSource(`${url}/events`)
      source.onerror = () => resolve('')
      source.onopen = () => resolve('events went through')
    }),
    new Promise<string>((resolve) => {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/socket`)
      socket.onerror = () => resolve('')
    }),
  ])
  // The browser reports a violation in a separate task.
  for (let i = 0; i === 0 || (i < 150 && refused.length < expected); i++)
    await new Promise((resolve) => setTimeout(resolve, 200))
  removeEventListener('securitypolicyviolation', violation)
  return { refused: refused.sort(), through: failed.filter((each) => each !== '') }
}

/** `leak` as an expression. An `import()` in its code would be rewritten for Node. */
const leaking = (expected = all.refused.length) =>
  `(${leak})('${elsewhere!.url}', (module) => import(module), ${expected})`

const all = {
  refused: [
    'connect-src /events',
    'connect-src /fetch',
    'connect-src /socket',
    'connect-src /xhr',
    'script-src-elem /import.js',
  ],
  through: [],
}

describeWithChromium('content security policy of the playground', openPlayground, (browser) => {
  it('page without a policy > request to another origin > succeeds', async () => {
    const page = await browser().context.newPage()
    browser().exchange.set('plain.html', Buffer.from('<!doctype html><link rel="icon" href="data:,">'))
    await page.goto(`${browser().url}exchange/plain.html`)
    const { through } = (await page.evaluate(leaking(0))) as Awaited<ReturnType<typeof leak>>
    await page.close()
    expect(through).toEqual(['fetch went through', 'import went through', 'xhr went through'])
    expect(reached.sort()).toEqual(['/events', '/fetch', '/import.js', '/socket', '/xhr'])
  })

  it('page of the playground > request to another origin > is blocked', async () => {
    await browser().open()
    expect(await browser().tab.evaluate(leaking())).toEqual(all)
    expect(reached).toEqual([])
  })

  it('base address and forms > cannot be turned to another origin', async () => {
    const page = browser()
    await page.open()
    const attempt = (url: string) =>
      page.tab.evaluate(async (url) => {
        const refused: string[] = []
        const violation = ({ effectiveDirective }: SecurityPolicyViolationEvent) => refused.push(effectiveDirective)
        document.addEventListener('securitypolicyviolation', violation)
        const base = Object.assign(document.createElement('base'), { href: `${url}/` })
        document.head.append(base)
        const form = Object.assign(document.createElement('form'), { action: `${url}/form`, method: 'post' })
        form.target = '_blank'
        form.append(Object.assign(document.createElement('input'), { name: 'weights', value: '1' }))
        document.body.append(form)
        form.submit()
        for (let i = 0; i < 150 && refused.length < 2; i++) await new Promise((resolve) => setTimeout(resolve, 200))
        document.removeEventListener('securitypolicyviolation', violation)
        const { origin } = new URL(document.baseURI)
        base.remove()
        form.remove()
        return { refused: refused.sort(), origin }
      }, url)
    expect(await attempt(elsewhere!.url)).toEqual({
      refused: ['base-uri', 'form-action'],
      origin: new URL(page.url).origin,
    })
    expect(reached).toEqual([])
  })

  it('training worker > request to another origin > is blocked by the inherited policy', async () => {
    await browser().open()
    expect(await browser().tab.workers()[0]!.evaluate(leaking())).toEqual(all)
    expect(reached).toEqual([])
  })

  it('workers of the worker (WebAssembly threads) > request to another origin > is blocked', async () => {
    const page = browser()
    for (const [name, expected] of [['confined.js', undefined], ['free.js', 0]] as const) // biome-ignore format: pairs
      page.exchange.set(name, Buffer.from(`postMessage(await ${leaking(expected)})`))
    await page.open()
    const worker = page.tab.workers()[0]!
    const asked = (confined: boolean) =>
      worker.evaluate(
        ([address, confined]) => {
          const own = confined ? Worker : (Object.getPrototypeOf(Worker) as typeof Worker)
          const nested = new own(address, { type: 'module' })
          return new Promise((resolve) => {
            nested.onmessage = ({ data }) => resolve(data)
          })
        },
        [`${page.url}exchange/${confined ? 'confined' : 'free'}.js`, confined] as const,
      )
    expect(await asked(true)).toEqual(all)
    expect(reached).toEqual([])
    // Requests allowed to a worker loaded by address from a server that sends no policy.
    expect(await asked(false)).toMatchObject({ refused: [] })
    expect(reached).toContain('/fetch')
  })
})

describeWithChromium(
  'playground below a path of a server without headers, as on GitHub Pages',
  () => openPlayground({}, undefined, '/repository/'),
  (browser) => {
    it(
      'request of the worker to another origin > is blocked, and a model opens',
      async () => {
        const page = browser()
        await page.tab.addInitScript(() => {
          sessionStorage['loads'] = `${sessionStorage['loads'] ?? ''} ${crossOriginIsolated}`
        })
        await page.tab.goto(page.url)
        // The page is loaded again, with the headers of the service worker.
        await page.tab.waitForFunction(() => crossOriginIsolated)
        expect(await page.tab.evaluate(() => sessionStorage['loads'])).toBe(' false true')
        await page.says(/^Choose a story/)
        expect(await page.tab.workers()[0]!.evaluate(leaking())).toEqual(all)
        expect(reached).toEqual([])
        await page.tab.click('#bundled')
        await page.says(/is open/)
      },
      patience,
    )

    it(
      'service worker > stores the chosen build of onnxruntime only, and isolates the page from its next load on',
      async () => {
        const page = browser()
        const stored = () =>
          page.tab.evaluate(async () => {
            const requests = await Promise.all(
              (await caches.keys()).map(async (name) => (await caches.open(name)).keys()),
            )
            const names = requests.flat().map(({ url }) => /threaded(\.\w+)?-[^.]*\.wasm$/.exec(url))
            return names.flatMap((found) => (found ? [found[1] ?? '.wasm'] : [])).sort()
          })
        const noted = () =>
          page.tab.waitForFunction(() =>
            /works without a network/.test(document.getElementById('offline')!.textContent),
          )
        await page.open()
        await noted()
        expect(await page.tab.locator('#provider').inputValue()).toBe('auto')
        expect(await stored()).toEqual(['.wasm'])
        await page.tab.click('#bundled')
        await page.says(/is open/)
        await page.set({ provider: 'webgpu' })
        await expect.poll(stored).toEqual(['.jspi', '.wasm'])
        await page.open()
        expect(await page.tab.evaluate('crossOriginIsolated')).toBe(true)
        await page.tab.click('#bundled')
        await page.says(/is open/)
        // It trains there, with the threads that the headers of the service worker allow.
        await page.tab.click('#home')
        await page.tab.click('#story-table')
        await page.says(/^Done/)
        const hasCores = await page.tab.evaluate(() => navigator.hardwareConcurrency > 1)
        expect(await page.text('#runtime')).toMatch(hasCores ? /wasm, \d+ threads/ : /wasm, 1 thread/)
      },
      patience,
    )
  },
)
