import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Command } from 'commander'
import {
  adamw,
  encodeModel,
  type Graph,
  gradientModel,
  importGraph,
  type Model,
  mse,
  Random,
  type Tensor,
  Trainer,
  trainableOf,
  type Value,
} from 'onnx-ire'
import { node, readModel } from 'onnx-ire/node'
import { inputsFor } from './inputs.js'

/**
 * Takes every model under a folder through all of it: import, gradient of a random scalar with respect to all parameters
 * against a directional difference, twenty training steps on random targets, export, and the exported model in onnxruntime.
 */
const { output, steps } = new Command('models')
  .argument('<folder>', 'where the models are')
  .option('-o, --output <file>', 'the table', 'MODELS.md')
  .option('--steps <n>', 'training steps', Number, 20)
  .parse()
  .opts<{ output: string; steps: number }>()
const folder = process.argv[2]!

interface Row {
  readonly file: string
  readonly nodes: number
  readonly parameters: number
  readonly gradientError: number
  readonly trained: Trained
  readonly seconds: number
}

/** Learning rates tried in turn until the loss falls: models differ by orders of magnitude in how far a step may go. */
const rates = [1e-3, 1e-4, 1e-5, 1e-6]

const runtime = node({ worker: false })
const rows: string[] = []
for (const path of modelsUnder(folder)) {
  const started = Date.now()
  try {
    const row = await examine(path)
    const error =
      row.gradientError < 0.02 ? row.gradientError.toExponential(1) : `**${row.gradientError.toExponential(1)}**`
    rows.push(
      `| ${row.file} | ${row.nodes} | ${row.parameters.toLocaleString('en')} | ${error} | ${`${row.trained.first.toPrecision(4)} -> ${row.trained.last.toPrecision(4)} | ${row.trained.lr.toExponential(0)}`} | ${row.seconds.toFixed(1)} |`,
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

Every model goes through import, gradient, ${steps} training steps and export: \`npx tsx tools/models/main.ts FOLDER\` writes this table.

- **gradient error**: the vector-Jacobian product of a random scalar of the outputs, with respect to all trainable parameters, against a central difference
  along a random direction in float32, relative to the sum of absolute terms.
- **loss**: mean squared error to random targets near the model's own output, before and after ${steps} steps of Adam at the first of the learning rates 1e-3 ... 1e-6 at which it falls. The exported model runs in plain onnxruntime with the
  interface of the original and gives the trained outputs.

| model | nodes | trainable parameters | gradient error | loss | lr | seconds |
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
  const inputs = inputsFor(file, graph.inputs)
  const outputs = await outputsOf(model, inputs)
  const gradientError = await gradientErrorOf(model, graph, inputs, outputs)
  const trained = await train(model, graph, inputs, outputs)
  const parameters = [...trainableOf(graph).values()].reduce((sum, value) => sum + tensorOf(value).data.length, 0)
  return {
    file,
    nodes: model.proto.graph!.node.length,
    parameters,
    gradientError,
    trained,
    seconds: (Date.now() - started) / 1000,
  }
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

/** |<gradient, v> - (f(w + hv) - f(w - hv)) / 2h| / sum |gradient v|, v signed along the gradient so that terms do not cancel. */
async function gradientErrorOf(
  model: Model,
  graph: Graph,
  inputs: Record<string, Tensor>,
  outputs: Record<string, Tensor>,
): Promise<number> {
  const random = new Random(1)
  const parameters = [...graph.parameters].filter(([, { dtype }]) => dtype === 'float32')
  const trainable = trainableOf(graph)
  const program = await runtime.compile(gradientModel(encodeModel(model)))
  const dy = Object.fromEntries(
    Object.entries(outputs)
      .filter(([, { dtype }]) => dtype === 'float32')
      .map(([name, tensor]) => [
        `dy/${name}`,
        { ...tensor, data: random.fill(new Float32Array(tensor.data.length), 'normal') },
      ]),
  )
  const weights = new Map(parameters.map(([name, value]) => [name, tensorOf(value)]))
  const f = async (at: ReadonlyMap<string, Tensor>) => program.run({ ...inputs, ...dy, ...Object.fromEntries(at) })
  const scalar = (results: Readonly<Record<string, Tensor>>) =>
    Object.entries(dy).reduce((sum, [name, { data }]) => {
      const y = results[name.slice('dy/'.length)]!.data as Float32Array
      return (data as Float32Array).reduce((s, w, i) => s + w * y[i]!, sum)
    }, 0)
  const gradients = await f(weights)
  // A relative step per tensor, so that none of them leaves the region where the model is smooth.
  const directions = new Map(
    parameters
      .filter(([name]) => trainable.has(name))
      .map(([name, value]) => {
        const data = tensorOf(value).data as Float32Array
        const size = Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length) + 1e-3
        const g = gradients[`grad/${name}`]!.data as Float32Array
        return [name, g.map((x) => (Math.sign(x) || 1) * size * random.uniform())] as const
      }),
  )
  const product = [...directions].reduce(
    (sum, [name, v]) => v.reduce((s, x, i) => s + x * (gradients[`grad/${name}`]!.data as Float32Array)[i]!, sum),
    0,
  )
  let best = Number.POSITIVE_INFINITY
  for (const h of [1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5]) {
    const moved = (sign: number) =>
      f(
        new Map(
          [...weights].map(([name, tensor]) => {
            const v = directions.get(name)
            return [
              name,
              v ? { ...tensor, data: (tensor.data as Float32Array).map((x, i) => x + sign * h * v[i]!) } : tensor,
            ]
          }),
        ),
      )
    const difference = (scalar(await moved(1)) - scalar(await moved(-1))) / (2 * h)
    best = Math.min(best, Math.abs(product - difference) / Math.max(Math.abs(product), 1e-12))
  }
  await program.release()
  return best
}

/** Trains towards targets near the model's own output; checks what is exported. */
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
  for (const lr of rates) {
    const trainer = await Trainer.create(model, {
      loss: mse({ output: name }),
      optimizer: adamw({ lr, weightDecay: 0 }),
      runtime,
      batchSize: 1,
    })
    const { loss: first } = await trainer.evaluate(set)
    for await (const _ of trainer.fit(set, { steps }));
    const { loss } = await trainer.evaluate(set)
    const exported = trainer.export()
    await trainer.dispose()
    tried.push(`${lr}: ${first} -> ${loss}`)
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
  throw new Error(`the loss did not fall at any learning rate (${tried.join('; ')})`)
}

interface Trained {
  readonly first: number
  readonly last: number
  readonly lr: number
}
