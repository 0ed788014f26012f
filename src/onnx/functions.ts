import type { FunctionProto, ModelProto, NodeProto } from './proto/schema.js'

const key = (domain: string | undefined, name: string | undefined, overload: string | undefined): string =>
  JSON.stringify([domain === 'ai.onnx' ? '' : (domain ?? ''), name ?? '', overload ?? ''])

/** The functions a model defines for itself. */
export const functionsOf = ({ functions }: ModelProto): ReadonlyMap<string, FunctionProto> =>
  new Map(functions.map((each) => [key(each.domain, each.name, each.overload), each]))

/** The function a node calls; a model's own definition goes before an operator of that name. */
export const functionOf = (
  functions: ReadonlyMap<string, FunctionProto>,
  { domain, opType, overload }: NodeProto,
): FunctionProto | undefined => functions.get(key(domain, opType, overload))
