import { describe, expect, it } from 'vitest'
import { dtypes } from '../../src/ir/dtype.js'
import { scalar } from '../../src/ir/leaf.js'
import { topological } from '../../src/ir/topology.js'
import { lower } from '../../src/lowering/lower.js'
import { webgpu } from '../../src/lowering/webgpu/target.js'
import type { GraphSpec } from '../../src/onnx/export/export-graph.js'
import { op } from '../../src/op/op.js'
import type { Form } from '../../tools/kernels/form.js'
import { forms } from '../../tools/kernels/forms.js'
import { distance, outputsOf } from './outputs.js'
import { cpu, cpuAs } from './providers.js'

/** The form alone, and in a graph that needs operator set 26, for which its operator or another has no kernel. */
function specsOf({ operator, inputs, outputs }: Form): readonly [GraphSpec, GraphSpec] {
  const alone = {
    name: operator,
    inputs: new Map(inputs.map((x, i) => [`x${i}`, x])),
    outputs: new Map(outputs.map((y, i) => [`y${i}`, y])),
  }
  const sum = op.Add(op.ReduceSum(outputs[0]!, null, { keepdims: 0 }), scalar('float32', 1))
  const beside = { sine: op.Sin(sum), bits: op.BitCast(sum, { to: dtypes.int32.onnx }) }
  return [alone, { ...alone, outputs: new Map([...alone.outputs, ...Object.entries(beside)]) }]
}

const cases = Object.keys(webgpu.downlevel).flatMap((operator) =>
  forms()
    .get(operator)!
    .filter(({ dtype }) => dtype === 'float32')
    .map((form) => [operator, form.name, form] as const),
)

describe('lowered for WebGPU together with an operator of the newest opset', () => {
  it.each(cases)('%s, %s > uses older operators, with the same result', async (operator, _, form) => {
    const [alone, spec] = specsOf(form)
    const nodes = topological(lower(spec, webgpu).outputs.values())
    // Conv itself has no replacement, but ConvTranspose, which replaces it in older opsets, has one.
    const without = operator === 'Conv' ? 'ConvTranspose' : operator
    expect(nodes.map((node) => node.operator)).not.toContain(without)
    const feeds = Object.fromEntries(form.feeds.map((tensor, i) => [`x${i}`, tensor]))
    const expected = await outputsOf(cpu, alone, feeds)
    expect(distance(await outputsOf(cpuAs('webgpu'), spec, feeds), expected)).toBeLessThan(2e-5)
  })
})
