import { readFileSync } from 'node:fs'
import type { Seed } from '../../dist/grad/gradient.js'
import { gradients } from '../../dist/grad/gradient.js'
import { decodeModel } from '../../dist/index.js'
import { isFloat } from '../../dist/ir/dtype.js'
import { input } from '../../dist/ir/leaf.js'
import { exportGraph } from '../../dist/onnx/export/export-graph.js'
import { importGraph } from '../../dist/onnx/import/import-graph.js'
import { walkNodes } from '../../dist/onnx/import/model-nodes.js'
import { encode } from '../../dist/onnx/proto/encode.js'
import type { GraphProto } from '../../dist/onnx/proto/schema.js'
import { buildGradientModel } from '../../dist/train/graphs/gradient-model.js'
import { forms } from './graphs.js'

/** Number of duplicate and unused nodes of the main graph. */
function superfluous(graph: GraphProto): number {
  const used = new Set(graph.output.map(({ name }) => name))
  for (const node of walkNodes(graph)) for (const name of node.input) used.add(name)
  for (const node of walkNodes(graph))
    for (const { g } of node.attribute) for (const { name } of g?.output ?? []) used.add(name)
  const seen = new Set<string>()
  return graph.node.filter(({ opType, input, output, attribute }) => {
    // Identity gives an output its second name, so it is not a duplicate.
    const key = JSON.stringify([opType, input, attribute], (_, value: unknown) =>
      typeof value === 'bigint' ? String(value) : value instanceof Uint8Array ? [...value] : value,
    )
    const twin = opType !== 'Identity' && !opType?.startsWith('Random') && seen.has(key)
    seen.add(key)
    return twin || !output.some((name) => used.has(name))
  }).length
}

/** CPU milliseconds of this process, which depend little on other processes. */
function busy(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Cost of one build, measured in a separate process; nodes of bodies are counted. */
export interface Cost {
  readonly before: number
  readonly imported: number
  readonly after: number
  /** Duplicate and unused nodes with gradient. */
  readonly superfluous: number
  /** CPU seconds for reading, differentiating and writing the model. */
  readonly seconds: { readonly read: number; readonly differentiate: number; readonly write: number }
  /** Peak memory above the start of the process, in MB. */
  readonly megabytes: number
}

const [kind, what, size] = process.argv.slice(2)
const bytes =
  kind === 'form' ? encode('ModelProto', exportGraph(forms[what!]!(Number(size)))) : new Uint8Array(readFileSync(what!))
process.send!(costOf(bytes))
process.disconnect!()

function costOf(bytes: Uint8Array): Cost {
  const small = encode('ModelProto', exportGraph(forms['chain']!(200)))
  for (let i = 0; i < 3; i++) buildGradientModel(decodeModel(small))
  const base = process.memoryUsage().rss
  const t0 = busy()
  const model = decodeModel(bytes)
  const graph = importGraph(model)
  const t1 = busy()
  const targets = [...graph.inputs.values(), ...graph.parameters.values()].filter(({ dtype }) => isFloat(dtype))
  const seeds = [...graph.outputs].flatMap(([name, y]): Seed[] =>
    isFloat(y.dtype) ? [[y, input(`dy/${name}`, y.dtype, y.shape)]] : [],
  )
  const dxs = gradients(seeds, targets)
  const t2 = busy()
  const written = exportGraph({
    name: 'gradient',
    inputs: new Map([...graph.inputs, ...seeds.map(([, dy]) => [dy.name!, dy] as const), ...graph.parameters]),
    outputs: new Map([
      ...graph.outputs,
      ...dxs.flatMap((dx, i) => (dx ? [[`grad/${targets[i]!.name}`, dx] as const] : [])),
    ]),
  })
  encode('ModelProto', written)
  const t3 = busy()
  const imported = exportGraph({ name: 'model', inputs: graph.inputs, outputs: graph.outputs })
  const count = (of: typeof written) => [...walkNodes(of.graph!)].length
  return {
    before: count(model.proto),
    imported: count(imported),
    after: count(written),
    superfluous: superfluous(written.graph!),
    seconds: { read: (t1 - t0) / 1000, differentiate: (t2 - t1) / 1000, write: (t3 - t2) / 1000 },
    megabytes: Math.max(0, process.resourceUsage().maxRSS * 1024 - base) / 2 ** 20,
  }
}
