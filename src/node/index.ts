export { readIdx } from './data.js'
export { readModel, type WriteModelOptions, writeModel } from './model.js'
export { type NodeOptions, node, type SessionOptions } from './runtime.js'
