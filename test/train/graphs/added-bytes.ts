import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** The growth of the memory of a process during a run of a training graph: a case of measure-run.mjs. Linux only. */
export function addedBytes(
  name: 'stored' | 'blocks' | 'whole' | 'chunks' | 'quantized' | 'dequantized',
): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL('measure-run.mjs', import.meta.url)), [name], { execArgv: [] })
    child.once('message', (bytes) => resolve(bytes as number))
    child.once('exit', (code) => reject(new Error(`ended with ${code} before a result`)))
  })
}
