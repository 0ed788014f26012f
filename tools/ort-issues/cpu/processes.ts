import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { NotTested, type Reproducers } from '../issue.js'
import { noise, op, probe } from '../model.js'
import { nodePath } from '../node.js'

/**
 * Runs a program in a namespace without a network, so that nothing it sends arrives. Throws `NotTested` if there is
 * none.
 */
function runOffline(program: string, args: readonly string[], env: NodeJS.ProcessEnv, cwd?: string) {
  const offline = ['-r', '-n', '--']
  try {
    execFileSync('unshare', [...offline, 'true'], { stdio: 'ignore' })
  } catch {
    throw new NotTested('it needs `unshare -r -n`, which this system lacks or forbids')
  }
  return spawnSync('unshare', [...offline, program, ...args], { env, cwd, encoding: 'utf8', timeout: 40_000 })
}

/** Creates a folder for the time of `work`. */
async function withFolder<T>(work: (folder: string) => T | Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'ort-issue-'))
  try {
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

const files = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)

export const processIssues: Reproducers = {
  'node-exit-during-run-aborts': {
    symptom: 'crash',
    run: async ({ arm }) => {
      const { bytes, feeds } = probe([noise('float32', [1024, 1024])], (x) => {
        let y = x!
        for (let i = 0; i < 100; i++) y = op.Mul(op.MatMul(y, x!), 0.01)
        return y
      })
      const { data, dims } = feeds['x0']!
      const code = `
        const { parentPort, workerData: { path, bytes, data, dims } } = require('node:worker_threads')
        const ort = require(path)
        ort.InferenceSession.create(bytes, { intraOpNumThreads: 1 }).then((session) => {
          parentPort.postMessage('running')
          return session.run({ x0: new ort.Tensor('float32', data, dims) })
        })`
      process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
      const worker = new Worker(code, { eval: true, workerData: { path: nodePath(), bytes, data, dims } })
      await new Promise((resolve) => worker.once('message', resolve))
      await new Promise((resolve) => setTimeout(resolve, 200))
      await arm('process.exit() while a worker thread is inside run()')
      process.exit(0)
    },
  },
  'node-telemetry': {
    run: () =>
      withFolder((folder) => {
        const { ORT_DISABLE_TELEMETRY: _, ...rest } = process.env
        const env = { ...rest, HOME: folder, XDG_CACHE_HOME: join(folder, 'cache') }
        const model = join(folder, 'model.onnx')
        writeFileSync(model, probe([noise('float32', [2])], (x) => op.Sin(x!)).bytes)
        const load = `require(${JSON.stringify(nodePath())}).InferenceSession.create(${JSON.stringify(model)}).then(() => setTimeout(() => {}, 1000))`
        const { status } = runOffline(process.execPath, ['-e', load], env)
        rmSync(model)
        if (status !== 0) throw new Error(`loading onnxruntime-node ended with ${status}`)
        const written = files(folder)
        return {
          present: written.length > 0,
          detail: `files written to an empty home: ${written.join(', ') || 'none'}`,
        }
      }),
  },
  'node-install-downloads-cuda': {
    run: () =>
      withFolder((folder) => {
        if (process.platform !== 'linux' || process.arch !== 'x64')
          throw new NotTested('the install script downloads on Linux x64 only')
        const source = dirname(dirname(nodePath()))
        if (!existsSync(join(source, 'script/install.js')))
          return { present: false, detail: 'the package has no install script' }
        cpSync(join(source, 'script'), join(folder, 'script'), { recursive: true })
        cpSync(join(source, 'package.json'), join(folder, 'package.json'))
        const env = Object.fromEntries(
          Object.entries(process.env).filter(([name]) => !/onnxruntime.node.install|proxy/i.test(name)),
        )
        const { status, signal } = runOffline(process.execPath, ['script/install.js'], env, folder)
        const how = signal ?? status
        return { present: status !== 0, detail: `script/install.js without a network ends with ${how}` }
      }),
  },
}
