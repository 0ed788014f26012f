import type { Device, DeviceTensor } from '../../src/runtime/device.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import type { Browser, Caller } from './browser.js'
import type { There } from './pages/calls/runtime.js'
import { type Plain, type Plains, plainOf, plainsOf, tensorOf, tensorsOf } from './pages/tensors.js'

interface Compiled {
  readonly program: number
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
}

let models = 0

/** A runtime of the page or its worker, to be used from here: everything that goes there and comes back is a copy. */
export async function remoteRuntime(
  { exchange }: Browser,
  call: Caller,
  start: 'startWasm' | 'startWebGpu',
  options: object = {},
): Promise<Runtime> {
  const { id, description } = await call<{ id: number; description: string }>('runtime', start, options)
  const handed = (model: Uint8Array): string => {
    const name = `model-${models++}`
    exchange.set(name, model)
    return name
  }
  const device = remoteDevice(id, call, handed)
  return {
    description,
    provider: start === 'startWasm' ? 'wasm' : 'webgpu',
    ...(start === 'startWebGpu' ? { device } : {}),
    async compile(model) {
      const { program, ...names } = await call<Compiled>('runtime', 'compile', id, handed(model))
      return {
        ...names,
        run: async (feeds) => tensorsOf(await call<Plains>('runtime', 'run', program, plainsOf(feeds))),
        release: () => call('runtime', 'release', program),
      }
    },
    allocate() {
      throw new Error('memory of the browser is not to be had here')
    },
    dispose: () => call('runtime', 'dispose', id),
  }
}

function remoteDevice(id: number, call: Caller, handed: (model: Uint8Array) => string): Device {
  const here = (tensor: There): DeviceTensor & There => ({
    ...tensor,
    release: () => void call('runtime', 'free', tensor),
  })
  const there = ({ dtype, dims, ...own }: DeviceTensor): There => ({
    there: (own as Partial<There>).there,
    dtype,
    dims,
  })
  return {
    async compile(model, keepOnDevice) {
      // Names in the models of the tests are one letter or a word, so all of them are queried.
      const name = handed(model)
      const plain = await call<Compiled>('runtime', 'compileThere', id, name, [])
      const onDevice = plain.outputNames.filter(keepOnDevice)
      await call('runtime', 'releaseThere', plain.program)
      const { program, ...names } = await call<Compiled>('runtime', 'compileThere', id, name, onDevice)
      return {
        ...names,
        async run(feeds) {
          const sent = Object.entries(feeds).map(
            ([name, feed]) => [name, 'data' in feed ? plainOf(feed) : there(feed)] as const,
          )
          const { host, device } = await call<{ host: Plains; device: Record<string, There> }>(
            'runtime',
            'runThere',
            program,
            Object.fromEntries(sent),
          )
          const stay = Object.entries(device).map(([name, tensor]) => [name, here(tensor)] as const)
          return { host: tensorsOf(host), device: Object.fromEntries(stay) }
        },
        release: () => call('runtime', 'releaseThere', program),
      }
    },
    upload: async (tensor) => here(await call<There>('runtime', 'upload', id, plainOf(tensor))),
    download: async (tensor) => tensorOf(await call<Plain>('runtime', 'download', id, there(tensor))),
  }
}
