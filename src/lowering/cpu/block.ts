import { input, tensorFrom } from '../../ir/leaf.js'
import { withBodies } from '../../ir/topology.js'
import type { Node, Value } from '../../ir/value.js'
import { exportGraph, type GraphSpec } from '../../onnx/export/export-graph.js'
import { encode } from '../../onnx/proto/encode.js'
import { getsExplicitPads } from '../../op/compose/explicit-pads.js'
import { layout } from '../../op/op.js'
import type { Runtime } from '../../runtime/runtime.js'
import type { Target } from '../lowering.js'
import { affineMap } from './affine-map.js'
import { hasParallelForm } from './batch-normalization.js'
import { addsRows } from './sum-of-rows.js'
import { sumsOfProducts } from './sums-of-products.js'
import { cpuTarget, gainsFromBlocks, hasSharedAngles, isDepthwise, positiveOperand } from './target.js'
import { transposedOperands, transposedProduct } from './transposed-products.js'

/** The target for a graph on a runtime's processor; undefined if it replaces no node. */
export async function cpuTargetOf(
  runtime: Runtime,
  { outputs }: Pick<GraphSpec, 'outputs'>,
): Promise<Target | undefined> {
  const nodes = withBodies(outputs.values())
  if (nodes.some(mayGainFromBlocks)) return cpuTarget(await blockOf(runtime))
  return nodes.some(isReplaced) ? cpuTarget() : undefined
}

function mayGainFromBlocks({ operator, inputs, attributes }: Node): boolean {
  const { group } = attributes as { readonly group: number }
  if (operator === 'ConvTranspose') return isDepthwise(inputs[1]!, group)
  return operator === 'Conv' && gainsFromBlocks(inputs[0]!, inputs[1]!, group)
}

/** Whether a node is replaced without blocked layout. */
function isReplaced(node: Node): boolean {
  const { operator, inputs, attributes } = node
  if (getsExplicitPads(node)) return true
  if (operator === 'RotaryEmbedding') return hasSharedAngles(inputs)
  if (operator === 'Cast') return positiveOperand(inputs[0]!, attributes as { readonly to: number }) !== null
  if (operator === 'Add') return affineMap(inputs[0]!, inputs[1]!) !== null
  if (operator === 'MatMul') return transposedOperands(inputs[0]!, inputs[1]!) !== null
  if (operator === 'Transpose')
    return transposedProduct(inputs[0]!, attributes['perm'] as readonly number[] | undefined) !== null
  if (operator === 'ReduceSum') {
    const [x, axes = null] = inputs as readonly [Value, (Value | null)?]
    return sumsOfProducts(x, axes) !== null || addsRows(x, axes)
  }
  return operator === 'BatchNormalization' && hasParallelForm(inputs, attributes as { readonly training_mode: number })
}

const found = new WeakMap<Runtime, Promise<number | undefined>>()

/** The number of channels in a block of a runtime's processor; undefined if it has no blocked layout. */
export function blockOf(runtime: Runtime): Promise<number | undefined> {
  const block = found.get(runtime) ?? measureBlock(runtime)
  found.set(runtime, block)
  return block
}

/** Number of channels of an image to find the block in; a larger block does not exist. */
const probeChannels = 64

/**
 * The number of channels in a block, which no interface of onnxruntime returns: the distance between the two elements
 * of channel 0 in blocked layout. Undefined if the runtime has no blocked layout.
 */
async function measureBlock(runtime: Runtime): Promise<number | undefined> {
  const x = input('x', 'float32', [1, probeChannels, 1, 2])
  const spec = { name: 'block', inputs: new Map([['x', x]]), outputs: new Map([['y', layout.ReorderInput(x)]]) }
  const elements = Array.from({ length: probeChannels * 2 }, (_, i) => i)
  try {
    const program = await runtime.compile(encode('ModelProto', exportGraph(spec)))
    const { y } = await program.run({ x: tensorFrom('float32', [1, probeChannels, 1, 2], elements) })
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
