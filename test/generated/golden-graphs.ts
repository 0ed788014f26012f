import { convnet } from '../../models/convnet.js'
import { mlp } from '../../models/mlp.js'
import { transformer } from '../../models/transformer.js'
import type { Graph } from '../../src/ir/value.js'
import { crossEntropy } from '../../src/loss/cross-entropy.js'
import { printGraph } from '../../src/onnx/print.js'
import { buildTrainingGraphs } from '../../src/train/graphs/build.js'

const models: readonly { readonly name: string; readonly graph: Graph; readonly batchNorm: 'frozen' | 'trained' }[] = [
  { name: 'mlp', graph: mlp({ features: 4, hidden: [8], classes: 3 }), batchNorm: 'frozen' },
  { name: 'convnet', graph: convnet({ channels: 3, stages: [4, 8], classes: 3 }), batchNorm: 'trained' },
  {
    name: 'transformer',
    graph: transformer({ vocabulary: 16, context: 8, width: 8, heads: 2, layers: 1 }),
    batchNorm: 'frozen',
  },
]

/** The training and curvature graphs of small models as text, by file name: the gradient subgraphs, open to review. */
export function goldenGraphs(): Map<string, string> {
  const files = new Map<string, string>()
  for (const { name, graph, batchNorm } of models) {
    const { training, curvature } = buildTrainingGraphs(graph, {
      loss: crossEntropy({ logits: 'logits' }),
      batchNorm,
      curvature: 'sampled',
    })
    files.set(`${name}.txt`, printGraph({ ...graph, parameters: new Map() }))
    files.set(`${name}.training.txt`, printGraph({ ...training, parameters: new Map() }))
    files.set(`${name}.curvature.txt`, printGraph({ ...curvature!.spec, parameters: new Map() }))
  }
  return files
}
