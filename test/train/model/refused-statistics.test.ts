import { describe, expect, it } from 'vitest'
import {
  buildTrainingGraphs,
  importGraph,
  input,
  modelOf,
  op,
  parameter,
  tensor,
  type Value,
} from '../../../src/graph/index.js'
import { crossEntropy, decodeModel, encodeModel, type Graph } from '../../../src/index.js'
import { scalar } from '../../../src/ir/leaf.js'
import { errorWith } from '../../thrown.js'

const vector = (name: string, value: number) => parameter(name, tensor('float32', [2], new Float32Array(2).fill(value)))

const norm = (x: Value, mean: Value, variance: Value, name: string): Value =>
  op.BatchNormalization(x, vector(`${name}.scale`, 1), vector(`${name}.bias`, 0), mean, variance)[0]

/** The graph as a file holds it. */
function read(build: (x: Value) => Value): Graph {
  const x = input('x', 'float32', ['N', 2])
  const model = modelOf({ name: 'norms', inputs: new Map([['x', x]]), outputs: new Map([['logits', build(x)]]) })
  return importGraph(decodeModel(encodeModel(model)))
}

const train = (graph: Graph) => buildTrainingGraphs(graph, { loss: crossEntropy(), batchNorm: 'trained' })

describe("batchNorm: 'trained'", () => {
  it('running statistics behind an Identity > are trained', () => {
    const mean = vector('mean', 0)
    const variance = vector('variance', 1)
    const graph: Graph = (() => {
      const x = input('x', 'float32', ['N', 2])
      const y = norm(x, op.Identity(mean), op.Identity(variance), 'a')
      return {
        name: 'norms',
        inputs: new Map([['x', x]]),
        parameters: new Map([mean, variance].map((value) => [value.name!, value])),
        outputs: new Map([['logits', y]]),
      }
    })()
    const trainable = { trainable: '*', loss: crossEntropy(), batchNorm: 'trained' } as const
    const scale = [...graph.outputs.values()][0]!.source
    const parameters = new Map(graph.parameters)
    if (scale.kind === 'node') for (const value of scale.inputs.slice(1, 3)) parameters.set(value!.name!, value!)
    const { statistics } = buildTrainingGraphs({ ...graph, parameters }, trainable)
    expect([...statistics.keys()].toSorted()).toEqual(['mean', 'variance'])
  })

  it('one tensor as the statistic of two norms > invalid-option that names it', () => {
    const [mean, variance, other] = [vector('tied', 0), vector('variance', 1), vector('other', 1)]
    const graph = read((x) => norm(norm(x, mean, variance, 'a'), op.Identity(mean), other, 'b'))
    expect(() => train(graph)).toThrow(errorWith('invalid-option', "'tied'"))
  })

  it('one tensor as a statistic and as the scale of a norm > invalid-option that names it', () => {
    const [mean, tied] = [vector('mean', 0), vector('tied', 1)]
    const graph = read((x) => op.BatchNormalization(x, op.Identity(tied), vector('bias', 0), mean, tied)[0])
    expect(() => train(graph)).toThrow(errorWith('invalid-option', "'tied'"))
  })

  it('a statistic that the model computes > invalid-option that names the norm', () => {
    const graph = read((x) => norm(x, vector('mean', 0), op.Mul(vector('variance', 1), scalar('float32', 2)), 'a'))
    expect(() => train(graph)).toThrow(errorWith('invalid-option', 'BatchNormalization'))
  })
})
