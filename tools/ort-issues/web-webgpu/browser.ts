import { createReadStream, existsSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { basename, dirname, join } from 'node:path'
import { chromiumPath, launchChromium } from '../../chromium.js'
import { type Finding, NotTested } from '../issue.js'
import type { Probe } from '../model.js'
import { installKit, type Kit } from './page.js'

const dist = dirname(createRequire(import.meta.url).resolve('onnxruntime-web/wasm'))

/** Headers that threads of WebAssembly need. */
const isolation = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }

/** Serves an empty page, and the files of onnxruntime-web below /ort/. */
async function serve() {
  const server = createServer((request, response) => {
    response.setHeaders(new Map(Object.entries(isolation)))
    const { pathname } = new URL(request.url!, 'http://localhost')
    const file = join(dist, basename(pathname))
    if (pathname === '/')
      response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>ort-issues</title>')
    else if (pathname.startsWith('/ort/') && existsSync(file)) {
      response.setHeader('Content-Type', file.endsWith('.wasm') ? 'application/wasm' : 'text/javascript')
      createReadStream(file).pipe(response)
    } else response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { readonly port: number }
  return { url: `http://127.0.0.1:${port}/`, close: () => server.close() }
}

/**
 * Calls a function in a page of Chromium. The function refers to nothing but its arguments: it is sent as text.
 * Throws `NotTested` if Chromium, or WebGPU in it, is missing.
 */
export async function inPage<A>(
  work: (kit: Kit, argument: A) => Promise<Finding>,
  argument: A,
  gpu = true,
): Promise<Finding> {
  if (!existsSync(chromiumPath))
    throw new NotTested(`Chromium is missing at ${chromiumPath} (apt-get install chromium)`)
  const server = await serve()
  const { context, close } = await launchChromium()
  try {
    const page = context.pages()[0] ?? (await context.newPage())
    await page.addInitScript(installKit)
    await page.goto(server.url)
    if (
      gpu &&
      !(await page.evaluate(async () => (await (globalThis as unknown as { kit: Kit }).kit.device()) !== null))
    )
      throw new NotTested('Chromium offers no WebGPU device')
    return await page.evaluate(`(${work})(kit, ${JSON.stringify(argument)})`)
  } finally {
    await close()
    server.close()
  }
}

/** The bytes of a model as text. */
export const base64 = ({ bytes }: Probe): string => Buffer.from(bytes).toString('base64')
