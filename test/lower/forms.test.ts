import { describe, expect, test } from 'vitest'
import { topological } from '../../src/ir/topology.js'
import { lowered } from '../../src/lower/lowered.js'
import { webgpu } from '../../src/lower/webgpu/index.js'
import { node } from '../../src/node/index.js'
import { encode } from '../../src/onnx/encode.js'
import { exportGraph, type GraphSpec } from '../../src/onnx/export.js'
import type { Form } from '../../tools/kernels/form.js'
import { forms } from '../../tools/kernels/forms.js'

const runtime = node({ worker: false })
const spec = ({ operator, inputs, outputs }: Form): GraphSpec => ({
  name: operator,
  inputs: new Map(inputs.map((x, i) => [`x${i}`, x])),
  outputs: new Map(outputs.map((y, i) => [`y${i}`, y])),
})
async function run(graph: GraphSpec, form: Form) {
  const program = await runtime.compile(encode('ModelProto', exportGraph(graph)))
  const feeds = form.feeds.map((tensor, i) => {
    const { dtype } = graph.inputs.get(`x${i}`)!
    return [
      `x${i}`,
      dtype === tensor.dtype
        ? tensor
        : { dtype, dims: tensor.dims, data: Int32Array.from(tensor.data as BigInt64Array, Number) },
    ]
  })
  try {
    return await program.run(Object.fromEntries(feeds))
  } finally {
    await program.release()
  }
}
const all = [...forms()].filter(([name]) => webgpu.lowerings[name] || webgpu.older[name])
describe.each(all)('%s', (name, ofOperator) => {
  test.each(ofOperator.filter((form) => form.dtype !== 'float64').map((form) => [form.name, form] as const))(
    '%s',
    async (_, form) => {
      const graph = spec(form)
      const low = lowered(graph, 'webgpu')
      const expected = await run(graph, form)
      const found = await run(low, form)
      for (const [key, tensor] of Object.entries(expected)) {
        const y = found[key]!
        expect(y.dims).toEqual(tensor.dims)
        expect([...y.data].map(Number)).toEqual(
          [...tensor.data].map((v) => (Number.isFinite(Number(v)) ? expect.closeTo(Number(v), 4) : Number(v))),
        )
      }
      void topological
      void name
    },
  )
})
