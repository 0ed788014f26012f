import { createReadStream, statSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { extname, join, normalize } from 'node:path'

/** Files exchanged between tests and pages below /exchange/, by name. */
export type Exchange = Map<string, Uint8Array>

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
}

/** Headers required for threads. */
export const isolation = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }

/**
 * Starts a plain static server.
 * @param headers headers of every response; by default those that threads need
 * @param base path of the folder on the server
 */
export async function serve(
  folder: string,
  exchange: Exchange,
  headers: Readonly<Record<string, string>> = isolation,
  base = '/',
) {
  const server = createServer((request, response) => {
    response.setHeaders(new Map(Object.entries(headers)))
    const address = new URL(request.url!, 'http://localhost').pathname
    if (!address.startsWith(base)) {
      response.writeHead(404).end()
      return
    }
    const pathname = address.slice(base.length - 1)
    if (pathname.startsWith('/exchange/'))
      return handOver(exchange, pathname.slice('/exchange/'.length), request, response)
    sendFile(join(folder, normalize(pathname === '/' ? '/index.html' : pathname)), response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address() as { readonly port: number }
  const close = () => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  }
  return { url: `http://127.0.0.1:${address.port}${base}`, close }
}

function sendFile(path: string, response: ServerResponse): void {
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) {
    response.writeHead(404).end()
    return
  }
  response.setHeader('Content-Type', types[extname(path)] ?? 'application/octet-stream')
  createReadStream(path).pipe(response)
}

async function handOver(exchange: Exchange, name: string, request: IncomingMessage, response: ServerResponse) {
  if (request.method === 'PUT') {
    const blocks: Uint8Array[] = []
    for await (const block of request) blocks.push(block)
    exchange.set(name, Buffer.concat(blocks))
    response.end()
    return
  }
  const file = exchange.get(name)
  response.statusCode = file ? 200 : 404
  response.setHeader('Content-Type', types[extname(name)] ?? 'application/octet-stream')
  response.end(file)
}
