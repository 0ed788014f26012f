import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { crossEntropy, decodeModel, encodeModel, type Recompute } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { buildTrainingGraphs, modelOf } from 'onnx-ire/graph'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { workloads } from '../bench/workloads.js'

/**
 * Shows the memory of one training step on the CPU in the order in which onnxruntime runs the nodes:
 * `npx tsx tools/memory/timeline.ts MODEL`, after `npm run build`. The order and the shapes come from onnxruntime's
 * profile of a step, the readers of a tensor from the graph that it optimized.
 */
const program = new Command('timeline')
  .argument('<model>', `one of ${Object.keys(workloads).join(', ')}`)
  .option('--recompute', 'compute activations again by blocks')
  .option('--steps <n>', 'lines of the timeline', Number, 24)
  .parse()
const { recompute, steps } = program.opts<{ recompute?: true; steps: number }>()
const workload = workloads[program.args[0]!]!
const MB = (bytes: number) => (bytes / 2 ** 20).toFixed(1).padStart(8)

/** Operators whose result shares the memory of their first operand. */
const views = new Set(['Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Identity'])

interface Kernel {
  readonly name: string
  readonly operator: string
  readonly sizes: readonly number[]
}

const folder = mkdtempSync(join(tmpdir(), 'timeline-'))
try {
  const { kernels, nodes } = await profile()
  print(kernels, nodes)
} finally {
  rmSync(folder, { recursive: true })
}

async function profile() {
  const again: { recompute?: Recompute } = recompute ? { recompute: 'blocks' } : {}
  const { training } = buildTrainingGraphs(workload.graph(), {
    loss: crossEntropy({ axis: workload.classAxis ?? -1 }),
    batchNorm: 'trained',
    ...again,
  })
  const { proto } = modelOf(training)
  // Names identify the nodes in the profile.
  const named = proto.graph!.node.map((node, i) => ({ ...node, name: `${node.opType}_${i}` }))
  const model = { proto: { ...proto, graph: { ...proto.graph!, node: named } }, external: null }
  const optimizedModelFilePath = join(folder, 'optimized.onnx')
  const session = await InferenceSession.create(encodeModel(model), {
    ...{ intraOpNumThreads: 1, optimizedModelFilePath, logSeverityLevel: 3, enableMemPattern: false },
    ...{ enableProfiling: true, profileFilePrefix: join(folder, 'profile') },
  })
  const data = workload.sample(new Random(1))
  const feeds = Object.fromEntries(
    [...training.inputs].map(([name, { source }]) => {
      const { dtype, data: elements, dims } = source.kind === 'parameter' ? source.tensor : data[name]!
      return [name, new Tensor(dtype as 'float32', elements as Float32Array, dims)]
    }),
  )
  await session.run(feeds)
  session.endProfiling()
  const { graph } = decodeModel(readFileSync(optimizedModelFilePath)).proto
  const file = readdirSync(folder).find((name) => name.startsWith('profile'))!
  const events = JSON.parse(readFileSync(join(folder, file), 'utf8')) as readonly ProfileEvent[]
  const kernels = events
    .filter(({ name, args }) => name.endsWith('_kernel_time') && args?.output_type_shape)
    .sort((a, b) => a.ts - b.ts)
    .map(
      ({ name, args }): Kernel => ({
        name: name.replace(/_kernel_time$/, ''),
        operator: args!.op_name,
        sizes: args!.output_type_shape!.map((types) =>
          Object.entries(types).reduce(
            (sum, [type, dims]) => sum + elementBytes(type) * dims.reduce((a, b) => a * b, 1),
            0,
          ),
        ),
      }),
    )
  return { kernels, nodes: new Map(graph!.node.map((node) => [node.name ?? '', node])), outputs: graph!.output }
}

interface ProfileEvent {
  readonly name: string
  readonly ts: number
  readonly args?: {
    readonly op_name: string
    readonly output_type_shape?: readonly Readonly<Record<string, readonly number[]>>[]
  }
}

function elementBytes(type: string): number {
  const bits = /(\d+)/.exec(type)?.[1]
  return type === 'bool' ? 1 : type === 'double' ? 8 : bits ? Number(bits) / 8 : 4
}

type Nodes = Awaited<ReturnType<typeof profile>>['nodes']

function print(kernels: readonly Kernel[], nodes: Nodes): void {
  const owner = new Map<string, string>()
  const own = (name: string): string => owner.get(name) ?? name
  const lastRead = new Map<string, number>()
  for (const [position, { name, operator }] of kernels.entries()) {
    const { input = [], output = [] } = nodes.get(name) ?? {}
    if (views.has(operator)) owner.set(output[0]!, own(input[0]!))
    for (const x of input) lastRead.set(own(x), position)
  }
  const live = new Map<string, { readonly bytes: number; readonly by: string }>()
  let total = 0
  let peak = { total: 0, position: 0, live: [] as readonly (readonly [string, { bytes: number; by: string }])[] }
  const totals = kernels.map(({ name, operator, sizes }, position) => {
    const { input = [], output = [] } = nodes.get(name) ?? {}
    if (!views.has(operator))
      for (const [i, bytes] of sizes.entries()) {
        const y = output.filter((each) => each !== '')[i]
        if (y === undefined) continue
        live.set(y, { bytes, by: name })
        total += bytes
      }
    if (total > peak.total) peak = { total, position, live: [...live] }
    for (const x of [...input.map(own), ...output]) {
      const held = live.get(x)
      if (held === undefined || (lastRead.get(x) ?? Number.POSITIVE_INFINITY) > position) continue
      live.delete(x)
      total -= held.bytes
    }
    return total
  })
  console.log(`${workload.title}: ${kernels.length} nodes, peak ${MB(peak.total)} MiB without reuse in place`)
  const step = Math.max(1, Math.ceil(kernels.length / steps))
  for (let position = 0; position < kernels.length; position += step) {
    const largest = Math.max(...totals.slice(position, position + step))
    const bar = '#'.repeat(Math.round((60 * largest) / peak.total))
    console.log(`${String(position).padStart(6)} ${MB(largest)} ${bar} ${kernels[position]!.name}`)
  }
  console.log(`At the peak, node ${peak.position} (${kernels[peak.position]!.name}):`)
  for (const [name, { bytes, by }] of [...peak.live].sort(([, a], [, b]) => b.bytes - a.bytes).slice(0, 16))
    console.log(`${MB(bytes)} ${by} -> ${name}`)
}
