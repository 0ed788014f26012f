import type { Runtime } from 'onnx-ire'
import { cApi, node } from 'onnx-ire/node'
import type { BenchDevice } from './contenders.js'

/** The runtime of this library's contender. On every device, operators on the host use `threads` threads. */
export async function openRuntime(device: BenchDevice, threads: number): Promise<Runtime> {
  if (device === 'cuda') return cApi({ provider: 'cuda', threads })
  return device === 'webgpu' ? node({ provider: 'webgpu', fallback: null, threads }) : node({ threads })
}
