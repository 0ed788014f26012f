import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { decodeModel, type Model, namedTensors, OnnxIreError, type Tensor } from '../../dist/index.js'
import { numbersOf } from '../../dist/ir/leaf.js'
import { encode } from '../../dist/onnx/proto/encode.js'
import { create } from '../../dist/onnx/proto/message.js'
import type { ModelProto } from '../../dist/onnx/proto/schema.js'
import { toTensorProto } from '../../dist/onnx/proto/tensor.js'
import { buildGradientModel } from '../../dist/train/graphs/gradient-model.js'
import { Session } from '../conformance/session.js'
import { toFloat64, widenModel } from '../conformance/widen.js'
import { pythonOf } from '../python/environments.js'

/**
 * Compares gradients of exported architectures with those of PyTorch: `npx tsx tools/torch/compare.ts FOLDER [RESULTS]`,
 * with a folder written by export.py. The table is written to RESULTS, by default RESULTS.md beside this file. The error is the largest difference relative to the largest element of the tensor, or to a
 * thousandth of the largest gradient of the model if that is larger (the gradient of a bias before a normalization is
 * 0).
 */
const [folder, results = fileURLToPath(new URL('RESULTS.md', import.meta.url))] = process.argv.slice(2)
if (!folder) throw new OnnxIreError('invalid-option', 'usage: compare.ts FOLDER [RESULTS]')
const tolerance = 1e-4
const small = 1e-3

interface Row {
  readonly name: string
  readonly precision: string
  readonly gradients: number
  readonly nodes: readonly [before: number, after: number]
  readonly output: number
  readonly error: number
  readonly worst: string
  /** Error of the float32 gradients of PyTorch. */
  readonly theirs: number
}

const rows: (Row | { readonly name: string; readonly failure: string })[] = []
for (const file of readdirSync(folder).sort()) {
  const name = file.replace(/\.(onnx|txt)$/, '').replace(/\.(?=evaluation|training|dynamo|TorchScript)/g, ', ')
  if (file.endsWith('.txt'))
    rows.push({ name, failure: `PyTorch does not export it: ${readFileSync(join(folder, file), 'utf8')}` })
  if (!file.endsWith('.onnx') || file.endsWith('.truth.onnx')) continue
  const read = (path: string) => decodeModel(new Uint8Array(readFileSync(join(folder, path))))
  const row = await compared(name, read(file), namedTensors(read(file.replace('.onnx', '.truth.onnx')))).catch(
    (error: Error) => ({ name, failure: error.message }),
  )
  rows.push(row)
  console.log('failure' in row ? `${name}: ${row.failure}` : lineOf(row))
}
writeFileSync(results, written())
process.exitCode = rows.every((row) => !('failure' in row) && agrees(row)) ? 0 : 1

function agrees({ error, output }: Row): boolean {
  return error <= tolerance && output <= tolerance
}

async function compared(name: string, model: Model, truth: ReadonlyMap<string, Tensor>): Promise<Row> {
  const sizeOf = (gradient: ModelProto) => [model.proto.graph!.node.length, gradient.graph!.node.length] as const
  let wide: Run | undefined
  try {
    wide = gradientOf(widenModel(model.proto, toFloat64), truth, 'float64')
    return measured(name, 'float64', sizeOf(wide.gradient), truth, await runOrt(wide))
  } catch {
    // An operator has no float64 kernel in onnxruntime, or takes float32 only, as Resize does for its scales.
  }
  const narrow = gradientOf(model.proto, truth, 'float32')
  const row = measured(name, 'float32', sizeOf(narrow.gradient), truth, await runOrt(narrow))
  if (agrees(row) || !wide) return row
  const exact = measured(name, 'float64', sizeOf(wide.gradient), truth, runReference(wide))
  return { ...exact, precision: `float64 by onnx.reference (float32: ${row.error.toExponential(1)})` }
}

interface Run {
  readonly gradient: ModelProto
  readonly feeds: ReadonlyMap<string, Tensor>
}

function gradientOf(proto: ModelProto, truth: ReadonlyMap<string, Tensor>, precision: 'float64' | 'float32'): Run {
  const feeds = new Map<string, Tensor>([...namedTensors({ proto, external: null })])
  for (const [key, tensor] of truth) {
    if (key.startsWith('x/')) feeds.set(key.slice(2), as(tensor, precision))
    if (key.startsWith('dy/')) feeds.set(key, as(tensor, precision))
  }
  return { gradient: buildGradientModel({ proto, external: null }), feeds }
}

async function runOrt({ gradient, feeds }: Run): Promise<ReadonlyMap<string, Tensor>> {
  const session = await Session.load(encode('ModelProto', gradient))
  try {
    return await session.run(feeds)
  } finally {
    await session.dispose()
  }
}

/** Runs in the reference implementation of ONNX, which has every operator in float64. */
function runReference({ gradient, feeds }: Run): ReadonlyMap<string, Tensor> {
  const place = mkdtempSync(join(tmpdir(), 'onnx-ire-float64-'))
  const [model, inputs, results] = ['model.onnx', 'feeds.onnx', 'results.onnx'].map((file) => join(place, file))
  try {
    writeFileSync(model!, encode('ModelProto', gradient))
    const initializer = [...feeds].map(([key, tensor]) => toTensorProto(key, tensor))
    writeFileSync(inputs!, encode('ModelProto', create('ModelProto', { graph: create('GraphProto', { initializer }) })))
    const script = fileURLToPath(new URL('float64.py', import.meta.url))
    execFileSync(pythonOf('torch'), [script, model!, inputs!, results!], { stdio: 'pipe' })
    return namedTensors(decodeModel(new Uint8Array(readFileSync(results!))))
  } finally {
    rmSync(place, { recursive: true })
  }
}

function as(tensor: Tensor, dtype: 'float64' | 'float32'): Tensor {
  if (tensor.dtype !== 'float32' && tensor.dtype !== 'float64') return tensor
  const values = numbersOf(tensor)
  return { dtype, dims: tensor.dims, data: dtype === 'float64' ? Float64Array.from(values) : Float32Array.from(values) }
}

function measured(
  name: string,
  precision: string,
  nodes: readonly [number, number],
  truth: ReadonlyMap<string, Tensor>,
  results: ReadonlyMap<string, Tensor>,
): Row {
  const wanted = [...truth].filter(([key]) => key.startsWith('grad/'))
  const floor = small * Math.max(...wanted.map(([, tensor]) => largest(numbersOf(tensor))))
  let error = 0
  let theirs = 0
  let worst = ''
  for (const [key, expected] of wanted) {
    const found = results.get(key)
    if (!found) throw new Error(`no ${key}`)
    const e = errorOf(found, expected, floor)
    theirs = Math.max(theirs, errorOf(truth.get(key.replace('grad/', 'float32/'))!, expected, floor))
    if (!(e <= error)) [error, worst] = [e, key.slice('grad/'.length)]
  }
  const output = errorOf(results.get('y')!, truth.get('y/y')!, 0)
  return { name, precision, gradients: wanted.length, nodes, output, error, worst, theirs }
}

function largest(values: readonly number[]): number {
  return values.reduce((most, x) => Math.max(most, Math.abs(x)), 0)
}

function errorOf(found: Tensor, expected: Tensor, floor: number): number {
  const [a, e] = [numbersOf(found), numbersOf(expected)]
  if (`${found.dims}` !== `${expected.dims}`) throw new Error(`a gradient is [${found.dims}], not [${expected.dims}]`)
  return largest(a.map((x, i) => x - e[i]!)) / Math.max(largest(e), floor)
}

function lineOf({ name, precision, gradients, nodes, output, error, worst, theirs }: Row): string {
  return `| ${name} | ${precision} | ${nodes[0]} -> ${nodes[1]} | ${gradients} | ${output.toExponential(1)} | ${error.toExponential(1)} | ${worst} | ${theirs.toExponential(1)} |`
}

function written(): string {
  const lines = rows.map((row) =>
    'failure' in row
      ? `| ${row.name} | | | | | | | ${row.failure.replaceAll('\n', ' ').replaceAll('|', '\\|')} |`
      : lineOf(row),
  )
  return `# Architectures exported by PyTorch

Written by these commands, with PyTorch 2.15, torchvision 0.29 and onnxscript 0.7, random weights, dropout off, and a dynamic number of examples:

\`\`\`
npm run python -- torch
~/.cache/onnx-ire/torch/bin/python tools/torch/export.py FOLDER
npx tsx tools/torch/compare.ts FOLDER
\`\`\`

Forms: dynamo is \`torch.onnx.export(..., optimize=False)\` at its default operator set 20, or at 23; TorchScript is \`dynamo=False\` without constant folding. With its default \`optimize=True\` the dynamo exporter folds batch normalization into convolutions, in training mode too, and stores transposed weights under names such as val_7, which cannot be compared by name.

The gradient model, run in onnxruntime on the CPU, against PyTorch's autograd in float64: the gradient of a random projection of the output with respect to every parameter and floating-point input. The model runs in float64 where onnxruntime has all its kernels in that type, else in float32, as exported. Error: the largest element's, relative to the tensor's largest element, or to a thousandth of the model's largest gradient where that is more; at most ${tolerance} is allowed.

Where the gradients in float32 err more, the model runs in float64 by onnx's reference evaluator (convolutions, max pooling and batch normalization by float64.py), and the error in float32 is in parentheses. Those above 1e-2 come from a ReLU or max pool that takes the other branch after rounding, which batch normalization over few values amplifies, not from the gradient model. In training mode, autograd in float64 itself moves by up to 2.0e-1 (MNASNet), 2.6e-2 (R3D), 8.6e-3 (FCN), 2.1e-1 (GoogLeNet) and 2.5e-1 (Inception) when every weight moves by about 6e-8 of itself, the rounding of float32 (4 seeds with 4 such moves each: rounding.py, beside export.py). Measured once, by a changed export.py: with SiLU in place of ReLU and average in place of max pooling, the same models in float32 err by 5.2e-5, 3.7e-6, 7.0e-6, 4.9e-5 and 2.5e-4, and PyTorch's own gradients in float32 by 1.1e-4, 5.9e-6, 6.2e-6, 3.9e-5 and 2.0e-4.

Rows without figures state the reason. The Conv that the dynamo exporter writes for R3D has a bias of [64, 2] for 64 channels, which is no valid model.

| architecture, mode | runs in | nodes | gradients | error of the output | largest error of a gradient | of | PyTorch's own in float32 |
|---|---|---|---|---|---|---|---|
${lines.join('\n')}
`
}
