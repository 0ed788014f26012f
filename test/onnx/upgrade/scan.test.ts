import { describe, expect, it } from 'vitest'
import { importGraph } from '../../../src/graph/index.js'
import { decodeModel, type Tensor } from '../../../src/index.js'
import { exportGraph } from '../../../src/onnx/export/export-graph.js'
import { encode } from '../../../src/onnx/proto/encode.js'
import { floats32, graph, graphProto, info, int, ints, modelBytes, node } from '../build.js'
import { numbers, run } from '../session.js'

/** Running sums of [batch, time, 2] from [batch, 2], by Scan of operator set 8. */
const sums = (
  inputs: string,
  more: Parameters<typeof node>[3] = {},
  declared = [info('s', [2, 2]), info('x', [2, 3, 2])],
) => {
  const body = graphProto({
    inputs: [info('sum', [2]), info('next', [2])],
    nodes: [node('Add', 'sum next', 'sumOut'), node('Identity', 'sumOut', 'running')],
    outputs: [info('sumOut', [2]), info('running', [2])],
  })
  return modelBytes(
    {
      inputs: declared,
      outputs: [info('last', [2, 2]), info('all', [2, 3, 2])],
      nodes: [node('Scan', inputs, 'last all', { body: graph(body), num_scan_inputs: int(1), ...more })],
    },
    { opset: 8, ir: 3 },
  )
}
const s = floats32([2, 2], [1, 2, 3, 4])
const x = floats32([2, 3, 2], [1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60])

async function agrees(bytes: Uint8Array, feeds: Record<string, Tensor>): Promise<Record<string, number[]>> {
  const again = encode('ModelProto', exportGraph(importGraph(decodeModel(bytes))))
  const [ours, theirs] = [await run(again, feeds), await run(bytes, feeds)]
  return Object.fromEntries(
    Object.entries(theirs).map(([name, tensor]) => {
      expect(ours[name]!.dims).toEqual(tensor.dims)
      expect(numbers(ours[name]!)).toEqual(numbers(tensor))
      return [name, numbers(tensor)]
    }),
  )
}

describe('Scan of operator set 8', () => {
  it('runs over every example of a batch', async () => {
    const { last } = await agrees(sums('_ s x'), { s, x })
    expect(last).toEqual([10, 14, 93, 124])
  })

  it('runs backwards', async () => {
    const { all } = await agrees(sums('_ s x', { directions: ints(1) }), { s, x })
    expect(all!.slice(0, 2)).toEqual([6, 8])
  })

  it('ends at the length of each sequence', async () => {
    const lens: Tensor = { dtype: 'int64', dims: [2], data: BigInt64Array.of(3n, 2n) }
    const declared = [info('s', [2, 2]), info('x', [2, 3, 2]), info('lens', [2], 'int64')]
    const { last, all } = await agrees(sums('lens s x', {}, declared), { s, x, lens })
    expect(last).toEqual([10, 14, 43, 64])
    expect(all!.slice(-2)).toEqual([0, 0])
  })
})
