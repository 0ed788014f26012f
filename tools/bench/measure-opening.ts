import { crossEntropy, encodeModel } from 'onnx-ire'
import { buildTrainingGraphs, importGraph, modelOf } from 'onnx-ire/graph'
import { readModel } from 'onnx-ire/node'

/** JSON output of `measure-opening.ts FILE`: durations in seconds, and the number of nodes of the training graph. */
export interface OpeningTimes {
  readonly read: number
  readonly build: number
  readonly nodes: number
}

const start = performance.now()
const graph = importGraph(await readModel(process.argv[2]!))
const middle = performance.now()
const training = modelOf(buildTrainingGraphs(graph, { loss: crossEntropy() }).training)
encodeModel(training)
const end = performance.now()
const times: OpeningTimes = {
  read: (middle - start) / 1000,
  build: (end - middle) / 1000,
  nodes: training.proto.graph!.node.length,
}
console.log(JSON.stringify(times))
