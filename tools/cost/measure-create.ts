import { adamw, crossEntropy, ire, Trainer } from 'onnx-ire'
import { modelOf } from 'onnx-ire/graph'
import { node } from 'onnx-ire/node'
import { densenet } from '../bench/models/densenet.js'

/** CPU seconds of `Trainer.create` for DenseNet-121 with cross-entropy, by optimizer, in a new process. */
const optimizer = process.argv[2] === 'ire' ? ire(adamw(), { kappa: 1, gamma: 0.5 }) : adamw()
const model = modelOf(densenet())
const runtime = node({ threads: 2 })
const before = process.cpuUsage()
const trainer = await Trainer.create(model, { loss: crossEntropy(), optimizer, runtime })
const { user, system } = process.cpuUsage(before)
process.send!((user + system) / 1e6)
await trainer.dispose()
await runtime.dispose()
process.disconnect!()
