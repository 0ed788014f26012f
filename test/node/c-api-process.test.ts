import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { tensor } from '../../src/ir/tensor.js'
import { cApi } from '../../src/node/c-api/runtime.js'
import { heavy } from '../runtime/models.js'

const dist = fileURLToPath(new URL('../../dist/', import.meta.url))
const here = fileURLToPath(import.meta.url)

/**
 * Runs a program in a separate process and returns its output and exit code. `head` runs before the library is loaded.
 */
async function child(program: string, { blocking = false, head = '' } = {}) {
  const source = `import { createRequire } from 'node:module'
    import Module from 'node:module'
    import { Worker } from 'node:worker_threads'
    const require = createRequire(${JSON.stringify(here)})
    ${head}
    const { cApi } = await import(${JSON.stringify(`${dist}node/c-api/runtime.js`)})
    const { node } = await import(${JSON.stringify(`${dist}node/runtime/node.js`)})
    const model = Uint8Array.from(${JSON.stringify(Array.from(heavy(6)))})
    const square = (n) => ({ dtype: 'float32', dims: [n, n], data: new Float32Array(n * n).fill(1 / n) })
    const start = () => cApi({ threads: 1, resident: true, blocking: ${blocking} })
    /** A worker in the middle of a run of 'program', once it has said so. */
    const working = (program) => new Promise((resolve, reject) => {
      const source = \`
        const { parentPort } = require('node:worker_threads')
        import(${JSON.stringify(`${dist}node/c-api/runtime.js`)}).then(async ({ cApi }) => {
          const start = () => cApi({ threads: 1, resident: true, blocking: ${blocking} })
          const model = Uint8Array.from(\${JSON.stringify(Array.from(model))})
          const square = (n) => ({ dtype: 'float32', dims: [n, n], data: new Float32Array(n * n).fill(1 / n) })
          \${program}
        })\`
      const worker = new Worker(source, { eval: true, execArgv: [] })
      worker.on('error', reject)
      worker.once('message', () => resolve(worker))
    })
    ${program}`
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', source], { timeout: 110_000 })
  return run.then(
    ({ stdout }) => ({ code: 0, stdout, stderr: '' }),
    ({ code, signal, stdout, stderr }) => ({ code: code ?? signal, stdout, stderr }),
  )
}

const midRun = `const runtime = start()
  const program = await runtime.compile(model)
  await program.run({ x0: square(10) })
  program.run({ x0: square(900) }).then(({ y }) => console.log('ran', y.dims.join()))`

describe.each([
  ['thread pool', false],
  ['blocking', true],
])('a process with cApi() %s', (_, blocking) => {
  it('undisposed runtime > the process ends after its runs', async () => {
    expect(await child(midRun, { blocking })).toEqual({ code: 0, stdout: 'ran 900,900\n', stderr: '' })
  })

  it.each([
    ['exits', 'process.exit(3)', 3],
    ['throws', "throw new Error('oops')", 1],
    ['receives SIGTERM', "process.kill(process.pid, 'SIGTERM')", 'SIGTERM'],
  ])('%s during a run > the process ends', async (_, leave, code) => {
    const left = await child(
      `${midRun}
      setTimeout(() => { console.log('leaving'); ${leave} }, 5)`,
      { blocking },
    )
    expect(left).toMatchObject({ code, stdout: expect.stringMatching(/leaving\n$/) })
  })

  const inWorker = `const program = await start().compile(model)
    const run = () => program.run({ x0: square(700) })
    await run()
    run()
    parentPort.postMessage('running')
    for (;;) await run()`

  it('worker terminated during a run > ends, and another worker runs the model', async () => {
    const program = `for (let i = 0; i < 3; i++) {
        const worker = await working(${JSON.stringify(inWorker)})
        await worker.terminate()
      }
      const { y } = await (await start().compile(model)).run({ x0: square(10) })
      console.log('ended', y.dims.join())`
    expect(await child(program, { blocking })).toEqual({ code: 0, stdout: 'ended 10,10\n', stderr: '' })
  })

  it('process.exit while a worker runs a model > the process ends', async () => {
    const program = `await working(${JSON.stringify(inWorker)})
      setTimeout(() => process.exit(3), 5)`
    expect(await child(program, { blocking })).toMatchObject({ code: 3, stderr: '' })
  })

  it('several threads, together with the official binding > run at once', async () => {
    const alone = `const runtime = start()
      const program = await runtime.compile(model)
      const device = await runtime.device.compile(model, () => true)
      for (let i = 0; i < 20; i++) {
        const x0 = await runtime.device.upload(square(60))
        const { device: kept } = await device.run({ x0 })
        const there = await runtime.device.download(kept.y)
        const { y } = await program.run({ x0: square(60) })
        if (Buffer.compare(Buffer.from(y.data.buffer), Buffer.from(there.data.buffer)) !== 0) throw new Error('differs')
        x0.release()
        kept.y.release()
      }
      await runtime.dispose()
      parentPort.postMessage('done')`
    const program = `const runtimes = [start(), node({ threads: 1 }), node({ threads: 1, worker: false })]
      const programs = await Promise.all(runtimes.map((runtime) => runtime.compile(model)))
      const workers = [1, 2, 3].map(() => working(${JSON.stringify(alone)}))
      for (let i = 0; i < 20; i++) {
        const all = await Promise.all(programs.map((program) => program.run({ x0: square(60) })))
        for (const { y } of all) if (Buffer.compare(Buffer.from(y.data.buffer), Buffer.from(all[0].y.data.buffer)) !== 0) throw new Error('differs')
      }
      await Promise.all(workers)
      for (const runtime of runtimes) await runtime.dispose()
      console.log('equal')`
    expect(await child(program, { blocking })).toEqual({ code: 0, stdout: 'equal\n', stderr: '' })
  })
})

describe('cApi() > start', () => {
  const shown =
    "try { start(); console.log('started') } catch ({ code, message }) { console.log(code + ': ' + message) }"
  const text = async (head: string) => (await child(shown, { head })).stdout

  it('without koffi > rejects', async () => {
    const head = `const resolve = Module._resolveFilename
      Module._resolveFilename = (name, ...rest) => {
        if (name === 'koffi') throw new Error('Cannot find module')
        return resolve(name, ...rest)
      }`
    expect(await text(head)).toMatch(/^runtime: .*koffi, which does not load/)
  })

  it('another release of onnxruntime > rejects', async () => {
    const head = `require('onnxruntime-node/package.json').version = '1.31.0'`
    expect(await text(head)).toMatch(/^runtime: onnxruntime-node is version 1\.31\.0; .*1\.30/)
  })

  it('a library that does not exist > rejects', async () => {
    const moved = (to: string) => `const resolve = Module._resolveFilename
      Module._resolveFilename = (name, ...rest) =>
        name === 'onnxruntime-node/package.json' ? ${JSON.stringify(to)} : resolve(name, ...rest)
      require.cache[${JSON.stringify(to)}] = { exports: { version: '1.30.0' }, loaded: true, id: '' }`
    expect(await text(moved('/nowhere/package.json'))).toMatch(/^runtime: \/nowhere\/bin\/.* does not load on/)
  })

  it('koffi with its stacks already allocated > rejects stacks that are too small', async () => {
    expect(await text(`require('koffi').load(null)`)).toMatch(/^runtime: .*stacks too small.*koffi\.config\(\{/)
    const sizes = '{ sync_stack_size: 2 ** 23, async_stack_size: 2 ** 23 }'
    expect(await text(`require('koffi').config(${sizes}); require('koffi').load(null)`)).toBe('started\n')
  })
})

describe('memory of the C API', () => {
  const mebibytes = () => process.memoryUsage().rss / 2 ** 20
  const x = tensor('float32', [256, 256], new Float32Array(256 * 256).fill(1 / 256))

  it('thousands of runs, tensors and sessions > does not grow', async () => {
    const runtime = cApi({ threads: 1, resident: true })
    const device = runtime.device!
    const round = async (sessions: number) => {
      for (let s = 0; s < sessions; s++) {
        const program = await device.compile(heavy(1), () => true)
        const x0 = await device.upload(x)
        for (let i = 0; i < 20; i++) {
          const { device: kept } = await program.run({ x0 })
          await device.download(kept['y']!)
          kept['y']!.release()
        }
        x0.release()
        await program.release()
      }
      return mebibytes()
    }
    const before = await round(50)
    // 150 sessions and 9000 tensors of 256 KiB, 2.2 GiB of them.
    expect((await round(150)) - before).toBeLessThan(100)
    await runtime.dispose()
  })

  it('runtimes disposed with undisposed programs and tensors > does not grow', async () => {
    const round = async (runtimes: number) => {
      for (let i = 0; i < runtimes; i++) {
        const runtime = cApi({ threads: 2, resident: true })
        const program = await runtime.device!.compile(heavy(1), () => true)
        await program.run({ x0: await runtime.device!.upload(x) })
        await runtime.dispose()
      }
      return mebibytes()
    }
    const before = await round(20)
    expect((await round(100)) - before).toBeLessThan(50)
  })
})
