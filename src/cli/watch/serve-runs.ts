import { randomBytes, timingSafeEqual } from 'node:crypto'
import { statSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { messageOf, OnnxIreError } from '../../util/errors.js'
import { findRuns, listRunFiles, readRuns, type StoredRun } from '../runs/read-run.js'
import { type RunRequest, sendRequest } from '../training/run-request.js'
import { writeRuns, writeWatchPage } from './page.js'

/** A page that follows runs, served to this machine only. */
export interface RunServer {
  /** Address of the page, with the token. */
  readonly url: string
  close(): Promise<void>
}

/** Milliseconds between two looks at the run folders, and between two signs of life on a connection. */
const [lookInterval, pingInterval] = [1000, 15_000]

/** Largest number of bytes of a request. */
const maxBody = 10_000

/**
 * Serves a page about runs on the loopback address. Every request needs the token of the address; requests under
 * another host name are refused, so that pages of other sites, whose name they may have pointed to this address, cannot
 * read anything. No file is served.
 * @param paths run folders, or folders with run folders in them
 * @param port 0 for any free port
 */
export async function serveRuns(paths: readonly string[], port: number): Promise<RunServer> {
  const token = randomBytes(24).toString('hex')
  const listeners = new Set<ServerResponse>()
  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy()
      else respond(response, 500, messageOf(error))
    })
  })
  const address = `127.0.0.1:${await listen(server, port)}`
  const hosts = [address, address.replace('127.0.0.1', 'localhost')]

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!hosts.includes(request.headers.host ?? '')) return respond(response, 403, 'unknown host')
    const { pathname, searchParams } = new URL(request.url ?? '/', `http://${address}`)
    const given = request.headers['x-onnx-ire-token'] ?? searchParams.get('token')
    if (!isEqual(String(given), token))
      return respond(response, 401, 'the address needs its token: use the printed one')
    const route = `${request.method} ${pathname}`
    if (route === 'GET /') {
      const nonce = randomBytes(16).toString('hex')
      return respond(response, 200, writeWatchPage(nonce, token), 'text/html')
    }
    if (route === 'GET /runs') {
      const runs = await readRuns(await findFolders(paths))
      return respond(response, 200, await writeRuns(runs, new Set(searchParams.getAll('hide'))), 'text/html')
    }
    if (route === 'GET /events') {
      response.writeHead(200, { ...headers, 'content-type': 'text/event-stream' }).write('data: start\n\n')
      listeners.add(response)
      response.on('close', () => listeners.delete(response))
      return
    }
    // A page of another site cannot send this header.
    if (route === 'POST /request' && request.headers['x-onnx-ire-token']) {
      const { run, request: what } = parse(await readBody(request))
      return respond(response, ...(await passRequest(await readRuns(await findFolders(paths)), run, what)))
    }
    respond(response, 404, 'not found')
  }

  let seen = ''
  const look = setInterval(async () => {
    if (listeners.size === 0) return
    const state = describeState(await findFolders(paths))
    if (state !== seen) for (const listener of listeners) listener.write('data: changed\n\n')
    seen = state
  }, lookInterval)
  const ping = setInterval(() => {
    for (const listener of listeners) listener.write(': alive\n\n')
  }, pingInterval)
  return {
    url: `http://${address}/?token=${token}`,
    async close() {
      clearInterval(look)
      clearInterval(ping)
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Listens on the loopback address, and returns the port. */
async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    const fail = (cause: Error) =>
      reject(
        new OnnxIreError('io', `cannot listen on port ${port}: ${cause.message}; choose another --port`, { cause }),
      )
    server.once('error', fail).listen(port, '127.0.0.1', () => {
      server.off('error', fail)
      resolve()
    })
  })
  return (server.address() as AddressInfo).port
}

/** Run folders of the paths, of which one may have no run yet. */
async function findFolders(paths: readonly string[]): Promise<readonly string[]> {
  const found = await Promise.all(paths.map((path) => findRuns([path]).catch((): string[] => [])))
  return [...new Set(found.flat())]
}

/**
 * Sends a request of the page to a run.
 * @param runs the runs of the page, so that no other folder is written to
 * @returns the response
 */
async function passRequest(
  runs: readonly StoredRun[],
  path: unknown,
  what: unknown,
): Promise<[status: number, text: string]> {
  if (what !== 'save' && what !== 'stop') return [400, "request must be 'save' or 'stop'"]
  const run = runs.find((each) => each.path === path)
  if (!run) return [404, 'there is no such run']
  if (run.status !== 'running') return [409, `${run.name} is not running`]
  await sendRequest(run.path, what satisfies RunRequest)
  return [200, what === 'save' ? `${run.name} saves a checkpoint` : `${run.name} saves a checkpoint and stops`]
}

const headers = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
}

function respond(response: ServerResponse, status: number, text: string, type = 'text/plain'): void {
  response.writeHead(status, { ...headers, 'content-type': `${type}; charset=utf-8` }).end(text)
}

const isEqual = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a).subarray(0, b.length), Buffer.from(b))

async function readBody(request: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of request) {
    body += chunk
    if (body.length > maxBody) throw new OnnxIreError('invalid-data', 'the request is too long')
  }
  return body
}

const parse = (text: string): { readonly run?: unknown; readonly request?: unknown } => {
  try {
    return Object(JSON.parse(text))
  } catch {
    return {}
  }
}

/** A text that changes if a run does. */
const describeState = (folders: readonly string[]): string =>
  JSON.stringify(
    folders.map((folder) =>
      [...listRunFiles(folder), `${folder}/lock.json`].map((file) => {
        const found = statSync(file, { throwIfNoEntry: false })
        // The lock is touched as a sign of life.
        return found && (file.endsWith('lock.json') ? found.birthtimeMs : [found.size, found.mtimeMs])
      }),
    ),
  )
