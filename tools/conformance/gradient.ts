import { OnnxIreError, type Tensor } from 'onnx-ire'
import { Random } from 'onnx-ire/data'
import { isFloat } from '../../dist/ir/dtype.js'
import { numbersOf } from '../../dist/ir/leaf.js'
import type { Graph } from '../../dist/ir/value.js'
import { exportGraph } from '../../dist/onnx/export/export-graph.js'
import { findConfigInputs, importGraph } from '../../dist/onnx/import/import-graph.js'
import { encode } from '../../dist/onnx/proto/encode.js'
import { edit } from '../../dist/onnx/proto/message.js'
import type { ModelProto } from '../../dist/onnx/proto/schema.js'
import { buildGradientModel } from '../../dist/train/graphs/gradient-model.js'
import type { Case } from './case.js'
import { isRandom } from './forward.js'
import { exception, failed, messageOf, type Outcome } from './outcome.js'
import { Session } from './session.js'
import { toFloat32, toFloat64, type Widening, widenModel } from './widen.js'

interface Precision {
  readonly name: 'float64' | 'float32'
  readonly types: Widening
  readonly steps: readonly number[]
  readonly tolerance: number
}

/** Step and tolerance per precision: differences of float32 results contain rounding errors, so both are larger. */
const precisions: readonly Precision[] = [
  { name: 'float64', types: toFloat64, steps: [1e-5, 1e-4, 1e-6, 1e-3], tolerance: 1e-6 },
  { name: 'float32', types: toFloat32, steps: [1e-2, 1e-1, 1e-3, 1], tolerance: 5e-3 },
]

/** Operators whose float64 kernel computes with float32 constants or in float32. */
const roundsToFloat32 = new Set(['Shrink'])

/** Distances by which a point is moved if it may be at a kink or a jump. */
const shifts = [0, 0.01, 0.1, 0.4]

type Point = ReadonlyMap<string, Tensor>

/**
 * Compares the gradient model with central differences (f(x + hv) - f(x - hv)) / 2h of f(x) = sum <dy, y(x)>.
 * Directions vary all floating-point inputs together and each alone; one is random, one is along the gradient, without
 * cancellation. Runs in float64 if onnxruntime has the kernels, else in float32.
 */
export async function checkGradient(case_: Case): Promise<Outcome> {
  let refusal = ''
  for (const precision of precisions) {
    if (precision.name === 'float64' && case_.operators.some((operator) => roundsToFloat32.has(operator))) continue
    for (const proto of [case_.proto, withoutOutputShapes(case_.proto)]) {
      const outcome = await attempt(case_, widenModel(proto, precision.types), precision)
      if (typeof outcome !== 'string' && !(outcome.result === 'failed' && /NaN/.test(outcome.detail))) return outcome
      refusal = typeof outcome === 'string' ? outcome : outcome.result === 'failed' ? outcome.detail : ''
      if (!/NaN|invalid (dimensions|rank)/i.test(refusal)) break
    }
  }
  return failed(refusal)
}

/**
 * Some outputs have their declared shape only at the stored inputs, for example those of Unique with equal elements.
 */
const withoutOutputShapes = (proto: ModelProto): ModelProto =>
  edit(proto, {
    graph: edit(proto.graph!, {
      output: proto.graph!.output.map((output) =>
        edit(output, {
          type: edit(output.type!, { tensorType: edit(output.type!.tensorType!, { shape: undefined }) }),
        }),
      ),
    }),
  })

/** An outcome, or the reason why onnxruntime cannot compute in this precision. */
async function attempt(case_: Case, proto: ModelProto, precision: Precision): Promise<Outcome | string> {
  let graph: Graph
  let gradient: ModelProto
  try {
    graph = importGraph({ proto, external: null })
    const floating = [...graph.outputs.values()].some(({ dtype }) => isFloat(dtype))
    if (!floating || targetsOf(graph, new Set()).length === 0) return { result: 'nothing' }
    if (isRandom(case_)) return exception('random outputs', 'results of two runs cannot be compared')
    gradient = buildGradientModel({ proto, external: null })
  } catch (error) {
    if (!(error instanceof OnnxIreError)) throw error
    if (error.code === 'not-differentiable')
      return exception('no derivative', error.message.split('\n').slice(1, -1).join(' ').trim())
    if (precision.name === 'float64') return `${error.code}: ${error.message}`
    return /operator|carry/.test(error.code + error.message)
      ? exception('cannot be imported', error.message.split('\n').slice(0, 3).join(' '))
      : failed(`${error.code}: ${error.message}`)
  }
  const settings = findConfigInputs(proto.graph!, [...graph.outputs.keys()])
  if (targetsOf(graph, settings).length === 0) return { result: 'nothing' }
  const forward = exportGraph({
    name: 'forward',
    inputs: new Map([...graph.inputs, ...graph.parameters]),
    outputs: graph.outputs,
  })
  const sessions: Session[] = []
  try {
    for (const model of [forward, gradient]) sessions.push(await Session.load(encode('ModelProto', model)))
    const [f, df] = sessions as [Session, Session]
    const start = new Map(
      [
        ...case_.sets[0]!.inputs,
        ...[...graph.parameters].map(([name, { source }]) => [name, (source as { tensor: Tensor }).tensor] as const),
      ].map(([name, tensor]) => [name, retyped(tensor, (graph.inputs.get(name) ?? graph.parameters.get(name))!.dtype)]),
    )
    return await compare(case_.name, graph, targetsOf(graph, settings), f, df, start, precision)
  } catch (error) {
    return `${precision.name}: ${messageOf(error)}`
  } finally {
    for (const session of sessions) await session.dispose()
  }
}

/** Inputs that may be varied; settings (scales of Resize, ratio of Dropout) may not. */
const targetsOf = (graph: Graph, settings: ReadonlySet<string>): string[] =>
  [...graph.inputs, ...graph.parameters]
    .filter(([name, { dtype }]) => isFloat(dtype) && !settings.has(name))
    .map(([name]) => name)

/** Some PyTorch cases were recorded with uninitialized inputs. */
const absurd = 1e15

function retyped(tensor: Tensor, dtype: Tensor['dtype']): Tensor {
  if (!isFloat(dtype)) return tensor
  const values = numbersOf(tensor).map((x) => (Math.abs(x) > absurd && Number.isFinite(x) ? 1 : x))
  return { dtype, dims: tensor.dims, data: dtype === 'float64' ? Float64Array.from(values) : Float32Array.from(values) }
}

async function compare(
  name: string,
  graph: Graph,
  targets: readonly string[],
  f: Session,
  df: Session,
  start: Point,
  precision: Precision,
): Promise<Outcome> {
  const random = new Random(11).stream(name)
  let misfit = ''
  for (const shift of shifts) {
    const at = moved(start, new Map(targets.map((key) => [key, directionOf(start.get(key)!, random)])), shift)
    const found = await misfitAt(at, graph, targets, f, df, precision, random).catch((error: unknown) => {
      // A moved input may be invalid; at the stored inputs the model must run.
      if (shift === 0 || !/invalid (dimensions|rank)/i.test(messageOf(error))) throw error
      return messageOf(error)
    })
    if (found === undefined)
      return {
        result: 'passed',
        note: [precision.name, ...(shift === 0 ? [] : [`moved by ${shift}`])].join(', '),
      }
    if (misfit === '') misfit = found
  }
  return failed(`${precision.name}: ${misfit}`)
}

/** A random direction with elements in [-1, -1/2] or [1/2, 1]. */
const directionOf = ({ data }: Tensor, random: Random): Float64Array =>
  Float64Array.from({ length: data.length }, () => (random.uniform() < 0.5 ? -1 : 1) * (0.5 + random.uniform() / 2))

function moved(at: Point, along: ReadonlyMap<string, Float64Array>, h: number): Point {
  if (h === 0) return at
  return new Map(
    [...at].map(([name, tensor]) => {
      const v = along.get(name)
      if (!v) return [name, tensor]
      const data = (tensor.data as Float64Array).map((x, i) => x + h * v[i]!)
      return [name, { ...tensor, data }]
    }),
  )
}

async function misfitAt(
  at: Point,
  graph: Graph,
  targets: readonly string[],
  f: Session,
  df: Session,
  { steps, tolerance }: Precision,
  random: Random,
): Promise<string | undefined> {
  const outputs = await f.run(at)
  const dys = new Map<string, Tensor>()
  for (const [name, { dtype }] of graph.outputs) {
    if (!isFloat(dtype)) continue
    const y = outputs.get(name)!
    const v = directionOf(y, random)
    // Infinite or NaN results have no difference.
    const weights = v.map((weight, i) => (Number.isFinite(Number(y.data[i])) ? weight : 0))
    dys.set(`dy/${name}`, { ...y, data: y.dtype === 'float64' ? weights : Float32Array.from(weights) })
  }
  const scalar = async (point: Point): Promise<number> => {
    const ys = await f.run(point)
    let sum = 0
    for (const [key, { data: weights }] of dys) {
      const { data, dims } = ys.get(key.slice(3))!
      if (`${dims}` !== `${outputs.get(key.slice(3))!.dims}`) return Number.NaN
      for (let i = 0; i < weights.length; i++) if (weights[i] !== 0) sum += Number(weights[i]) * Number(data[i])
    }
    return sum
  }
  const gradients = await df.run(new Map([...at, ...dys]))
  const finite = [...dys.keys()].every((key) =>
    (outputs.get(key.slice(3))!.data as Float64Array).every(Number.isFinite),
  )
  for (const key of targets) {
    const dx = gradients.get(`grad/${key}`)!
    if (`${dx.dims}` !== `${at.get(key)!.dims}`)
      return `the gradient of '${key}' is [${dx.dims}], not [${at.get(key)!.dims}]`
  }
  const alone = targets.slice(0, 12).map((target) => [target])
  const slopesOf = (key: string) => gradients.get(`grad/${key}`)!.data as Float64Array
  const slopes = targets.flatMap((key) => Array.from(slopesOf(key)))
  // NaN results are skipped above, and with them the inputs that only they depend on.
  if (finite && !slopes.every(Number.isFinite)) return 'the gradient has elements that are no numbers'
  for (const [moving, kind] of (targets.length > 1 ? [...alone, targets] : alone).flatMap((group) => [
    [group, 'random'] as const,
    [group, 'uphill'] as const,
  ])) {
    const v = new Map(
      moving.map((key) => {
        const dx = slopesOf(key)
        const towards = (x: number, i: number) => (kind === 'random' ? x : Math.abs(x) * Math.sign(dx[i]!))
        return [key, directionOf(at.get(key)!, random).map((x, i) => (Number.isFinite(dx[i]) ? towards(x, i) : 0))]
      }),
    )
    let product = 0
    let scale = 0
    for (const [key, direction] of v) {
      const dx = slopesOf(key)
      direction.forEach((x, i) => {
        if (x === 0) return
        product += dx[i]! * x
        scale += Math.abs(dx[i]! * x)
      })
    }
    const tries: number[] = []
    let close = false
    for (const h of steps) {
      const difference = ((await scalar(moved(at, v, h))) - (await scalar(moved(at, v, -h)))) / (2 * h)
      tries.push(difference)
      close = Math.abs(product - difference) <= tolerance * Math.max(scale, Math.abs(difference), 1e-2)
      if (close) break
    }
    if (!close)
      return `along ${moving.join(', ')} (${kind}): gradient ${product}, differences ${tries.map((x) => x.toPrecision(8)).join(', ')}`
  }
  return undefined
}
