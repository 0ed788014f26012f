import { createReadStream, statSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { extname, join, normalize } from 'node:path'

/** What tests and pages hand each other below /exchange/: files by name. */
export type Exchange = Map<string, Uint8Array>

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
}

/** A plain static server with the headers that threads need. */
export async function serve(folder: string, exchange: Exchange) {
  const server = createServer((request, response) => {
    response.setHeader('Cross-Origin-Opener-Policy', 'same-origin')
    response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp')
    const { pathname } = new URL(request.url!, 'http://localhost')
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
  return { url: `http://127.0.0.1:${address.port}/`, close }
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
  response.end(file)
}
