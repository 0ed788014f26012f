import type { FunctionProto, ModelProto, NodeProto } from '../proto/schema.js'

const functionKey = (domain: string | undefined, name: string | undefined, overload: string | undefined): string =>
  JSON.stringify([domain === 'ai.onnx' ? '' : (domain ?? ''), name ?? '', overload ?? ''])

/** The functions a model defines for itself. */
export const indexFunctions = ({ functions }: ModelProto): ReadonlyMap<string, FunctionProto> =>
  new Map(functions.map((each) => [functionKey(each.domain, each.name, each.overload), each]))

/** The function a node calls; a model's own definition goes before an operator of that name. */
export const findFunction = (
  functions: ReadonlyMap<string, FunctionProto>,
  { domain, opType, overload }: NodeProto,
): FunctionProto | undefined => functions.get(functionKey(domain, opType, overload))
