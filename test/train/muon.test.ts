import { afterAll, describe, expect, it } from 'vitest'
import { estimateRun } from '../../src/analysis/inspect/run-memory.js'
import { HostBackend } from '../../src/backend/host.js'
import { runStep } from '../../src/backend/step.js'
import { constant, importGraph, input, modelOf, op, parameter, tensor } from '../../src/graph/index.js'
import { adamw, crossEntropy, type Model, muon } from '../../src/index.js'
import { node } from '../../src/node/index.js'
import { createRules, type HiddenMatrix } from '../../src/optim/base-optimizer.js'
import { initialState } from '../../src/optim/state.js'
import { describeTensors } from '../../src/train/describe-tensors.js'
import { rejectedMessage } from '../thrown.js'
import { modelFrom, smallConvnet } from './problem.js'
import { startTrainers } from './small-trainer.js'

const { create } = startTrainers()

const ramp = (name: string, ...dims: number[]) =>
  parameter(name, {
    dtype: 'float32',
    dims,
    data: Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i)),
  })

/** An embedding, two hidden layers in both orientations, a norm's scale, a bias, and a head. */
function textModel(): Model {
  const ids = input('ids', 'int64', ['batch', 4])
  const embedded = op.Gather(ramp('embedding', 10, 6), ids)
  const up = op.Mul(op.Relu(op.MatMul(embedded, ramp('up', 6, 8))), ramp('scale', 8))
  const down = op.Add(op.MatMul(up, op.Transpose(ramp('down', 5, 8), { perm: [1, 0] })), ramp('bias', 5))
  const y = op.MatMul(op.ReduceMean(down, [1], { keepdims: 0 }), ramp('head', 5, 3))
  return modelFrom({ name: 'text', inputs: new Map([['ids', ids]]), outputs: new Map([['y', y]]) } as never)
}

function matricesOf(model: Model, groups: Parameters<typeof describeTensors>[2]['groups'] = []) {
  const graph = importGraph(model)
  const tensors = describeTensors(graph.parameters, graph, { groups })
  return Object.fromEntries(Object.entries(tensors).flatMap(([name, { matrix }]) => (matrix ? [[name, matrix]] : [])))
}

describe('muon > choice of tensors', () => {
  it('text model > hidden layers only, with the axis of their outputs', () => {
    expect(matricesOf(textModel())).toEqual({
      up: { rows: 6, columns: 8, outputs: 'columns' },
      down: { rows: 5, columns: 8, outputs: 'rows' },
    })
  })

  it('convolutions > are [outputs, rest]', () => {
    const matrices = Object.values(matricesOf(smallConvnet())) as HiddenMatrix[]
    expect(matrices.length).toBeGreaterThan(1)
    expect(matrices.map(({ outputs }) => outputs)).toEqual(matrices.map(() => 'rows'))
    expect(matrices[0]).toMatchObject({ rows: 4, columns: 18 })
  })

  it('weights that Split divides, Concat joins or QuantizeLinear rounds > belong to the layers that read them', () => {
    const x = input('x', 'float32', ['N', 4])
    const [w, v] = op.Split(ramp('packed', 8, 6), [4, 4], { axis: 0 })
    const scale = constant(tensor('float32', [], Float32Array.of(0.1)), 'scale')
    const joined = op.Concat([ramp('left', 6, 2), ramp('right', 6, 3)], { axis: 1 })
    const rounded = op.DequantizeLinear(op.QuantizeLinear(ramp('rounded', 5, 4), scale), scale)
    const hidden = op.MatMul(op.MatMul(op.Add(op.MatMul(x, w!), op.MatMul(x, v!)), joined), rounded)
    const y = op.MatMul(hidden, ramp('head', 4, 2))
    const model = modelOf({ name: 'test', inputs: new Map([['x', x]]), outputs: new Map([['y', y]]) })
    expect(Object.keys(matricesOf(model))).toEqual(['packed', 'left', 'right', 'rounded'])
  })

  it('groups > change the choice; a vector is rejected', () => {
    const groups = [
      { tensors: 'head', matrix: true },
      { tensors: 'up', matrix: false },
    ]
    expect(Object.keys(matricesOf(textModel(), groups)).sort()).toEqual(['down', 'head'])
    expect(() => matricesOf(textModel(), [{ tensors: 'bias', matrix: true }])).toThrow(/groups.*'bias'/)
  })

  it('another optimizer > rejects matrix', async () => {
    const creating = () => create({ optimizer: adamw(), groups: [{ tensors: '*', matrix: true }] })
    expect(await rejectedMessage('invalid-option', creating)).toMatch(/groups\[0\].*matrix/)
  })

  it('memory of a run > one moment for matrices, two for other tensors', () => {
    const optimizerOf = (optimizer: ReturnType<typeof muon>) =>
      estimateRun(textModel(), { loss: crossEntropy(), optimizer }, { ids: [2, 4], labels: [2] })!.optimizer
    expect(optimizerOf(adamw()) - optimizerOf(muon())).toBe(4 * (48 + 40))
  })
})

describe('muon > three updates > equal PyTorch 2.15 with float32 for its bfloat16', () => {
  const runtime = node({ threads: 1, worker: false })
  afterAll(() => runtime.dispose())
  const cases: readonly (readonly [string, 'original' | 'match-rms-adamw', readonly [number, number], number[]])[] = [
    [
      'wide, original',
      'original',
      [3, 5],
      [
        0.010165, 0.845254, 0.918676, 0.123369, -0.726813, -0.980828, -0.302212, 0.669838, 0.968115, 0.417546,
        -0.532942, -0.986584, -0.541014, 0.435641, 0.973176,
      ],
    ],
    [
      'tall, match-rms-adamw',
      'match-rms-adamw',
      [5, 3],
      [
        0.00038, 0.831202, 0.908982, 0.141001, -0.74925, -0.966118, -0.290248, 0.65822, 0.984059, 0.413496, -0.54875,
        -0.993609, -0.533719, 0.427011, 0.97973,
      ],
    ],
  ]
  for (const [name, scale, [rows, columns], expected] of cases)
    it(name, async () => {
      const optimizer = muon({ lr: 0.02, scale })
      const tensors = { w: { dims: [rows, columns], matrix: { rows, columns, outputs: 'rows' as const } } }
      const rules = createRules(optimizer, tensors)
      const parameters = { w: Float32Array.from({ length: 15 }, (_, i) => Math.sin(i)) }
      const values = new Map([['w', input('w', 'float32', [rows, columns])]])
      const backend = new HostBackend(runtime, { optimizer, parameters: values, rules })
      backend.load({ parameters, optimizer: initialState(optimizer, parameters, rules) })
      for (let t = 0; t < 3; t++)
        await runStep(backend, optimizer, t, () => ({
          gradients: { w: Float32Array.from({ length: 15 }, (_, i) => (((i * i * 7 + t * 5) % 11) - 5) / 5) },
        }))
      for (const [i, x] of expected.entries()) expect(parameters.w[i]).toBeCloseTo(x, 5)
      await backend.dispose()
    })
})
