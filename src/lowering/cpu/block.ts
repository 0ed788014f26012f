import { input, tensorFrom } from '../../ir/leaf.js'
import { withBodies } from '../../ir/topology.js'
import { exportGraph, type GraphSpec } from '../../onnx/export/export-graph.js'
import { encode } from '../../onnx/proto/encode.js'
import { layout } from '../../op/op.js'
import type { Runtime } from '../../runtime/runtime.js'
import type { Target } from '../lowering.js'
import { cpuTarget, gainsFromBlocks } from './target.js'

/** Whether a graph has nodes that `cpuTarget` may lower. */
export const hasBlockedForms = ({ outputs }: GraphSpec): boolean =>
  withBodies(outputs.values()).some(
    ({ operator, inputs, attributes }) =>
      operator === 'Conv' && gainsFromBlocks(inputs[0]!, inputs[1]!, (attributes as { readonly group: number }).group),
  )

const found = new WeakMap<Runtime, Promise<Target | undefined>>()

/** The target for a runtime's processor; undefined if it has no blocked layout. */
export function cpuTargetOf(runtime: Runtime): Promise<Target | undefined> {
  let target = found.get(runtime)
  if (!target) {
    target = measureBlock(runtime).then((block) => (block === undefined ? undefined : cpuTarget(block)))
    found.set(runtime, target)
  }
  return target
}

/** Number of channels of an image to find the block in; a larger block does not exist. */
const CHANNELS = 64

/**
 * The number of channels in a block, which no interface of onnxruntime returns: the distance between the two elements
 * of channel 0 in blocked layout. Undefined if the runtime has no blocked layout.
 */
async function measureBlock(runtime: Runtime): Promise<number | undefined> {
  const x = input('x', 'float32', [1, CHANNELS, 1, 2])
  const spec = { name: 'block', inputs: new Map([['x', x]]), outputs: new Map([['y', layout.ReorderInput(x)]]) }
  const elements = Array.from({ length: CHANNELS * 2 }, (_, i) => i)
  try {
    const program = await runtime.compile(encode('ModelProto', exportGraph(spec)))
    const { y } = await program.run({ x: tensorFrom('float32', [1, CHANNELS, 1, 2], elements) })
    await program.release()
    const order = Array.from(y!.data as Float32Array)
    const block = order.indexOf(1)
    // Element i of block k holds channel k block + i, first of column 0, then of column 1.
    const expected = elements.map((i) => {
      const [k, rest] = [Math.floor(i / (2 * block)), i % (2 * block)]
      return 2 * (k * block + (rest % block)) + Math.floor(rest / block)
    })
    return block > 1 && order.every((element, i) => element === expected[i]) ? block : undefined
  } catch {
    return undefined
  }
}
