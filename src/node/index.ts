export { readModel, writeModel } from './model.js'
export { type NodeOptions, node } from './runtime.js'
