import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Command } from 'commander'
import {
  adamw,
  decodeModel,
  encodeModel,
  type Graph,
  gradientModel,
  type Model,
  mse,
  type Tensor,
  Trainer,
} from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { findTrainable, importGraph, modelOf, type Value } from 'onnx-ire/graph'
import { node, readModel } from 'onnx-ire/node'
import { createInputs } from './inputs.js'

/**
 * Checks every model in a folder: import, gradient of a random scalar against differences tensor by tensor, twenty
 * training steps on random targets, export, and a run of the exported model in onnxruntime.
 */
const command = new Command('models')
  .argument('<folder>', 'folder with the models')
  .option('-o, --output <file>', 'the table', 'MODELS.md')
  .option('--steps <n>', 'training steps', Number, 20)
  .parse()
const { output, steps } = command.opts<{ output: string; steps: number }>()
const [folder] = command.processedArgs as [string]

interface Row {
  readonly file: string
  readonly nodes: NodeCounts
  readonly parameters: number
  readonly gradientError: Spread
  readonly trained: Trained
  readonly seconds: number
}

/** Learning rates, tried in order until the loss falls: the largest usable step differs by orders of magnitude. */
const rates = [1e-3, 1e-4, 1e-5, 1e-6]

/**
 * Number of tensors checked, evenly spaced. Each is checked alone: varied together, a deep model is too nonlinear for
 * float32.
 */
const looked = 16

const runtime = node({ worker: false })
const rows: string[] = []
for (const path of modelsUnder(folder)) {
  const started = Date.now()
  try {
    const row = await examine(path)
    rows.push(
      `| ${row.file} | ${nodesText(row.nodes)} | ${row.parameters.toLocaleString('en')} | ${row.gradientError.median.toExponential(0)} (${row.gradientError.worst.toExponential(0)}) | ${`${row.trained.first.toPrecision(4)} -> ${row.trained.last.toPrecision(4)} | ${row.trained.lr.toExponential(0)}`} | ${row.seconds.toFixed(1)} |`,
    )
  } catch (error) {
    rows.push(
      `| ${basename(path)} | | | | ${(error as Error).message.split('\n')[0]} | | ${((Date.now() - started) / 1000).toFixed(1)} |`,
    )
  }
  console.log(rows.at(-1))
}
await runtime.dispose()
writeFileSync(
  output,
  `# Pretrained models

Every model goes through import, gradient, ${steps} training steps and export: \`npx tsx tools/models/main.ts FOLDER\` writes
this table.

- **nodes**: in the file, including those of bodies; after import, if it leaves fewer, because it folds constants and
  branches that are never taken; and in the gradient model, which computes the outputs and the gradients of all inputs
  and tensors.
- **gradient error**: of the vector-Jacobian product of a random scalar of the outputs, against central differences in
  float32, per tensor: the median (and worst) of ${looked} tensors, each moved alone. Differences themselves are good to about
  1e-3 here; a worst one far above that is a tensor behind a kink or of vanishing influence.
- **loss**: mean squared error to random targets near the model's own output, before and after ${steps} steps of Adam at the
  first of the learning rates 1e-3 ... 1e-6 at which it falls. The exported model runs in plain onnxruntime with the
  interface of the original and gives the trained outputs.

| model | nodes -> with gradient | trainable parameters | gradient error | loss | lr | seconds |
|---|---|---|---|---|---|---|
${rows.join('\n')}
`,
)

function modelsUnder(path: string): string[] {
  if (!statSync(path).isDirectory()) return path.endsWith('.onnx') ? [path] : []
  return readdirSync(path)
    .toSorted()
    .flatMap((name) => modelsUnder(join(path, name)))
}

async function examine(path: string): Promise<Row> {
  const started = Date.now()
  const file = basename(path)
  const model = await readModel(path)
  const graph = importGraph(model)
  const inputs = createInputs(file, graph.inputs)
  const outputs = await outputsOf(model, inputs)
  const gradientError = await gradientErrorOf(model, graph, inputs, outputs)
  const trained = await train(model, graph, inputs, outputs)
  const parameters = [...findTrainable(graph).values()].reduce((sum, value) => sum + tensorOf(value).data.length, 0)
  return {
    file,
    nodes: nodeCountsOf(model, graph),
    parameters,
    gradientError,
    trained,
    seconds: (Date.now() - started) / 1000,
  }
}

interface NodeCounts {
  readonly before: number
  readonly imported: number
  readonly after: number
}

function nodesText({ before, imported, after }: NodeCounts): string {
  return `${before}${imported === before ? '' : ` -> ${imported}`} -> ${after}`
}

function nodeCountsOf(model: Model, graph: Graph): NodeCounts {
  const imported = modelOf({ ...graph, inputs: new Map([...graph.inputs, ...graph.parameters]) })
  const after = decodeModel(gradientModel(encodeModel(model)))
  const count = ({ proto }: Model) => nodesIn(proto.graph!)
  return { before: count(model), imported: count(imported), after: count(after) }
}

type GraphProto = NonNullable<Model['proto']['graph']>

/** Counts nodes, including those of bodies. */
function nodesIn({ node }: GraphProto): number {
  const bodies = node.flatMap(({ attribute }) => attribute.flatMap(({ g, graphs }) => (g ? [g, ...graphs] : graphs)))
  return bodies.reduce((sum, body) => sum + nodesIn(body), node.length)
}

function tensorOf(value: Value): Tensor {
  return (value.source as { readonly tensor: Tensor }).tensor
}

async function outputsOf(model: Model, inputs: Record<string, Tensor>): Promise<Record<string, Tensor>> {
  const program = await runtime.compile(encodeModel(model))
  const outputs = await program.run(inputs)
  await program.release()
  return outputs
}

/**
 * Relative error per tensor, |<gradient, v> - (f(w + hv) - f(w - hv)) / 2h| / |<gradient, v>|, the smallest over a few
 * h. The direction v has the signs of the gradient, so that terms do not cancel.
 */
async function gradientErrorOf(
  model: Model,
  graph: Graph,
  inputs: Record<string, Tensor>,
  outputs: Record<string, Tensor>,
): Promise<Spread> {
  const random = new Random(1)
  const floating = Object.entries(outputs).filter(([, { dtype }]) => dtype === 'float32')
  const dy = Object.fromEntries(
    floating.map(([name, tensor]) => [
      `dy/${name}`,
      { ...tensor, data: random.fill(new Float32Array(tensor.data.length), 'normal') },
    ]),
  )
  const weights = Object.fromEntries([...graph.parameters].map(([name, value]) => [name, tensorOf(value)]))
  const backward = await runtime.compile(gradientModel(encodeModel(model)))
  const gradients = await backward.run({ ...inputs, ...dy, ...weights })
  await backward.release()
  const forward = await runtime.compile(
    encodeModel(modelOf({ ...graph, inputs: new Map([...graph.inputs, ...graph.parameters]) })),
  )
  const f = async (name: string, tensor: Tensor) => {
    const results = await forward.run({ ...inputs, ...weights, [name]: tensor })
    return floating.reduce((sum, [output]) => {
      const y = results[output]!.data as Float32Array
      return (dy[`dy/${output}`]!.data as Float32Array).reduce((s, w, i) => s + w * y[i]!, sum)
    }, 0)
  }
  const names = [...findTrainable(graph).keys()]
  const chosen = names.filter((_, i) => i % Math.ceil(names.length / looked) === 0)
  const errors: number[] = []
  for (const name of chosen) {
    const tensor = weights[name]!
    const data = tensor.data as Float32Array
    const gradient = gradients[`grad/${name}`]!.data as Float32Array
    const size = Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length) + 1e-3
    const v = gradient.map((g) => Math.sign(g) * size * (0.5 + random.uniform() / 2))
    const product = v.reduce((sum, x, i) => sum + x * gradient[i]!, 0)
    if (product === 0) continue
    let best = Number.POSITIVE_INFINITY
    for (const h of [3e-2, 3e-3, 3e-4, 3e-5]) {
      const moved = (sign: number) => f(name, { ...tensor, data: data.map((x, i) => x + sign * h * v[i]!) })
      const difference = ((await moved(1)) - (await moved(-1))) / (2 * h)
      best = Math.min(best, Math.abs(product - difference) / Math.abs(product))
    }
    errors.push(best)
  }
  await forward.release()
  errors.sort((a, b) => a - b)
  return { median: errors[Math.floor(errors.length / 2)] ?? 0, worst: errors.at(-1) ?? 0 }
}

interface Spread {
  readonly median: number
  readonly worst: number
}

/** Trains on targets near the output of the model and checks the exported model. */
async function train(
  model: Model,
  graph: Graph,
  inputs: Record<string, Tensor>,
  outputs: Record<string, Tensor>,
): Promise<Trained> {
  const random = new Random(2)
  const [name] = [...graph.outputs].find(([, { dtype }]) => dtype === 'float32')!
  const own = outputs[name]!
  const data = own.data as Float32Array
  const size = Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length) + 1e-2
  const targets = { ...own, data: data.map((x) => x + 0.3 * size * random.normal()) }
  const set = { length: 1, batch: () => ({ ...inputs, targets }) }
  const tried: string[] = []
  const losses: number[] = []
  for (const lr of rates) {
    const trainer = await Trainer.create(model, {
      loss: mse({ output: name }),
      optimizer: adamw({ lr, weightDecay: 0, eps: 1e-20 }),
      runtime,
      batchSize: 1,
    })
    const { loss: first } = await trainer.evaluate(set)
    for await (const _ of trainer.fit(set, { totalSteps: steps }));
    const { loss } = await trainer.evaluate(set)
    const exported = trainer.export()
    await trainer.dispose()
    tried.push(`${lr}: ${first} -> ${loss}`)
    losses.push(first, loss)
    if (!(loss < first)) continue
    const results = await outputsOf(exported, inputs)
    const y = results[name]!.data as Float32Array
    const again = y.reduce((sum, x, i) => sum + (x - targets.data[i]!) ** 2, 0) / y.length
    if (Math.abs(again - loss) > 1e-3 * Math.max(loss, 1e-6))
      throw new Error(`the exported model's loss is ${again}, the trainer's ${loss}`)
    if (Object.keys(results).join() !== Object.keys(outputs).join())
      throw new Error('the exported model has other outputs')
    return { first, last: loss, lr }
  }
  if (new Set(losses).size === 1)
    throw new Error(
      'the output does not move: its Sigmoid is at 1 (or 0) in float32 for random inputs, so the gradient is exactly 0',
    )
  throw new Error(`the loss did not fall at any learning rate (${tried.join('; ')})`)
}

interface Trained {
  readonly first: number
  readonly last: number
  readonly lr: number
}
