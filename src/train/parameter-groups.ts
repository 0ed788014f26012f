import { bodiesOf, dependenciesOf, nodesOf, topological } from '../ir/topology.js'
import type { Graph, Node, Value } from '../ir/value.js'
import { definitionOf } from '../op/op.js'
import type { Optimizer } from '../optim/optimizer.js'
import { unwrap } from '../optim/optimizer.js'
import type { ParameterSettings } from '../optim/parameter-settings.js'
import { checkBoolean, checkNames, checkNumber, count, invalidOption, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import {
  createMatcher,
  createSelector,
  includedPatterns,
  matchNames,
  type NamePatterns,
  type NameSelection,
  selectNames,
} from '../util/pattern.js'
import { emptyRecord } from '../util/record.js'

/**
 * A group of trainable tensors with different training options. Omitted fields are the same as for all other tensors.
 */
export interface ParameterGroup {
  /** Names of the trainable tensors in the group: patterns, or patterns to `include` and to `exclude`. */
  readonly tensors: NameSelection
  /** Learning rate, multiplied by the factor of the schedule. */
  readonly lr?: number
  /** Weight decay. */
  readonly weightDecay?: number
  /**
   * Whether an optimizer of matrices, `muon`, treats these tensors as matrices; default true for weights of hidden
   * layers, false for embeddings, the last layer and others.
   */
  readonly matrix?: boolean
  /** False: IRE does not enhance these tensors, and they do not count in its threshold. */
  readonly ire?: boolean
  /**
   * Not trained: never, or not until a step or an epoch (gradual unfreezing). No gradient of frozen tensors is
   * computed.
   */
  readonly frozen?: boolean | { readonly untilStep: number } | { readonly untilEpoch: number }
}

/** Freezing of all trainable tensors but some. */
export interface FreezeOptions {
  /**
   * Tensors that are trained: 'head', which is the weight and the bias of the last layer before the output, or of all
   * layers of which the output is the sum or the mean; or a list of name patterns.
   */
  readonly except: 'head' | NamePatterns
  /** The step at which training of the other tensors begins. Default: never. */
  readonly untilStep?: number
  /** The epoch, from 0, at which training of the other tensors begins. Default: never. */
  readonly untilEpoch?: number
}

/** Options that differ between tensors. */
export interface GroupOptions {
  /**
   * Groups of tensors with different options. If several groups set a field of a tensor, the first one is used, so
   * exceptions come before the rule.
   */
  readonly groups?: readonly ParameterGroup[]
  /**
   * Freezes all tensors except some: `{ except: 'head' }` trains the last layer only, and `{ except: 'head',
   * untilEpoch: 2 }` the whole model from the third epoch on. The same as a last group with `frozen`: fields of
   * `groups` come first. Default: nothing is frozen.
   */
  readonly freeze?: FreezeOptions
  /**
   * False: no weight decay on biases, norm scales and all other tensors with at most one axis longer than 1. Default
   * true, as in PyTorch.
   */
  readonly decayVectors?: boolean
  /**
   * Layer-wise learning-rate decay: the learning rate of a tensor is multiplied by this factor for every layer
   * downstream of its own layer (Howard & Ruder 2018). Layers are counted along the longest path. Otherwise `rate` is
   * the factor, and `layers` lists the names of each layer, from input to output.
   */
  readonly layerDecay?: number | { readonly rate: number; readonly layers: readonly NamePatterns[] }
}

/** Checks group options. Throws `invalid-option`. */
export function checkGroups({ groups = [], freeze, layerDecay }: GroupOptions, optimizer: Optimizer): void {
  if (freeze) checkFreeze(freeze)
  if (!Array.isArray(groups))
    throw invalidOption('Trainer', 'groups', groups, "a list such as [{ tensors: 'head.*', lr: 1e-3 }]")
  for (const [i, group] of groups.entries()) {
    const owner = `groups[${i}]`
    checkNames(owner, group, ['tensors', 'lr', 'weightDecay', 'matrix', 'ire', 'frozen'])
    if (!group.tensors)
      throw invalidOption(owner, 'tensors', group.tensors, 'patterns of the names of trainable tensors')
    if (typeof group.tensors === 'object' && !Array.isArray(group.tensors))
      checkNames(`${owner}.tensors`, group.tensors, ['include', 'exclude'])
    if (group.lr !== undefined) checkNumber(owner, 'lr', group.lr, nonNegative)
    if (group.lr && unwrap(optimizer).base.lr === 0)
      throw invalidOption(owner, 'lr', group.lr, "omitted, because the optimizer's lr is 0 and a group scales it")
    if (group.ire && optimizer.kind !== 'ire')
      throw invalidOption(owner, 'ire', group.ire, 'omitted or false, because the optimizer is not wrapped in ire()')
    if (group.matrix !== undefined) {
      checkBoolean(owner, 'matrix', group.matrix)
      if (!unwrap(optimizer).base.ruleOf)
        throw invalidOption(owner, 'matrix', group.matrix, 'omitted, because the optimizer treats all tensors alike')
    }
    const { frozen } = group
    if (frozen !== undefined && typeof frozen !== 'boolean') {
      const times = Object.keys(Object(frozen))
      if (typeof frozen !== 'object' || times.length !== 1 || !['untilStep', 'untilEpoch'].includes(times[0]!))
        throw invalidOption(owner, 'frozen', JSON.stringify(frozen), 'true, false, { untilStep } or { untilEpoch }')
    }
    if (group.weightDecay !== undefined) checkNumber(owner, 'weightDecay', group.weightDecay, nonNegative)
  }
  if (typeof layerDecay === 'object') checkNames('layerDecay', layerDecay, ['rate', 'layers'])
  const rate = typeof layerDecay === 'object' ? layerDecay.rate : (layerDecay ?? 1)
  checkNumber('Trainer', 'layerDecay', rate, { min: 0, max: 1 })
  if (typeof layerDecay === 'object' && !Array.isArray(layerDecay.layers))
    throw invalidOption('layerDecay', 'layers', layerDecay.layers, 'a list with the names of each layer')
}

function checkFreeze(freeze: FreezeOptions): void {
  checkNames('freeze', freeze, ['except', 'untilStep', 'untilEpoch'])
  const { except, untilStep, untilEpoch } = freeze
  if (except === undefined || [except].flat().length === 0)
    throw invalidOption('freeze', 'except', except, "'head', or patterns of the tensors that are trained")
  if (untilStep !== undefined && untilEpoch !== undefined)
    throw invalidOption('freeze', 'untilEpoch', untilEpoch, 'omitted, because untilStep is given')
  if (untilStep !== undefined) checkNumber('freeze', 'untilStep', untilStep, count)
  if (untilEpoch !== undefined) checkNumber('freeze', 'untilEpoch', untilEpoch, count)
}

/** All groups of the options, in the order in which they are used: `freeze` is the last one. */
function allGroups({ groups = [], freeze }: GroupOptions): readonly ParameterGroup[] {
  if (!freeze) return groups
  const { except, untilStep, untilEpoch } = freeze
  const frozen = untilStep !== undefined ? { untilStep } : untilEpoch !== undefined ? { untilEpoch } : true
  return [...groups, { tensors: { exclude: except }, frozen }]
}

/**
 * Finds the tensors that groups freeze permanently.
 * @throws OnnxIreError `invalid-option` for a pattern without a match, and if all tensors are frozen
 */
export function findFrozen(names: readonly string[], options: GroupOptions): Set<string> {
  const groups = allGroups(options)
  for (const { tensors } of groups) selectNames(tensors, names, 'trainable tensor')
  const frozen = new Set(names.filter((name) => groups.find(setsField(name, 'frozen'))?.frozen === true))
  if (frozen.size < names.length || frozen.size === 0) return frozen
  throw new OnnxIreError('invalid-option', 'groups: every trainable tensor is frozen; at least one must be trained')
}

/**
 * Throws `invalid-option` for a pattern of a group that matches only tensors that the loss does not depend on: it would
 * have no effect.
 * @param names names of the trained and of the frozen tensors
 */
export function checkGroupsMatch(names: readonly string[], { groups = [] }: GroupOptions): void {
  for (const [i, { tensors }] of groups.entries())
    for (const pattern of [includedPatterns(tensors) ?? '*'].flat())
      if (!names.some(createMatcher(pattern)))
        throw invalidOption(`groups[${i}]`, 'tensors', pattern, 'a pattern of tensors that the loss depends on')
}

/** Whether a group sets a field for a tensor. */
const setsField = (name: string, field: keyof ParameterGroup) => (group: ParameterGroup) =>
  group[field] !== undefined && createSelector(group.tensors)(name)

/** Returns the field of the first group that sets it for a tensor. */
export const findGroupField = <K extends keyof ParameterGroup>(
  name: string,
  options: GroupOptions,
  field: K,
): ParameterGroup[K] | undefined => allGroups(options).find(setsField(name, field))?.[field]

/**
 * Resolves group options to settings per tensor, for tensors that have any.
 * @param layerDepths number of layers downstream of each tensor, for `layerDecay`
 * @param stepsPerEpoch undefined for data of unknown length
 */
export function resolveParameterSettings(
  parameters: ReadonlyMap<string, Value>,
  options: GroupOptions,
  optimizer: Optimizer,
  layerDepths: () => ReadonlyMap<string, number>,
  stepsPerEpoch: number | undefined,
): Record<string, ParameterSettings> {
  const { decayVectors = true, layerDecay } = options
  const { base } = unwrap(optimizer)
  const scales = layerDecay === undefined ? undefined : layerScales([...parameters.keys()], layerDecay, layerDepths)
  const settings: Record<string, ParameterSettings> = emptyRecord()
  for (const [name, value] of parameters) {
    const find = <K extends keyof ParameterGroup>(field: K) => findGroupField(name, options, field)
    const [lr, decay, ire, frozen] = [find('lr'), find('weightDecay'), find('ire'), find('frozen')]
    const lrScale = (lr === undefined ? 1 : lr / base.lr) * (scales?.get(name) ?? 1)
    const weightDecay = decay ?? (decayVectors || !isVectorOrScalar(value) ? undefined : 0)
    const startStep = typeof frozen === 'object' ? firstStep(frozen, stepsPerEpoch) : 0
    const own: ParameterSettings = {
      ...(lrScale === 1 ? {} : { lrScale }),
      ...(weightDecay === undefined ? {} : { weightDecay }),
      ...(ire === undefined ? {} : { enhanced: ire }),
      ...(startStep === 0 ? {} : { startStep }),
    }
    if (Object.keys(own).length > 0) settings[name] = own
  }
  return settings
}

/** Whether a value has at most one axis longer than 1: exporters also write a bias as [C, 1, 1]. */
const isVectorOrScalar = ({ shape }: Value): boolean => (shape?.filter((dim) => dim !== 1).length ?? 0) <= 1

function firstStep(
  frozen: { readonly untilStep: number } | { readonly untilEpoch: number },
  stepsPerEpoch: number | undefined,
): number {
  if ('untilStep' in frozen) return checkNumber('groups', 'frozen.untilStep', frozen.untilStep, count)
  const epoch = checkNumber('groups', 'frozen.untilEpoch', frozen.untilEpoch, count)
  if (stepsPerEpoch !== undefined) return epoch * stepsPerEpoch
  throw new OnnxIreError(
    'invalid-option',
    'groups: frozen.untilEpoch needs data of known length; set untilStep instead',
  )
}

function layerScales(
  names: readonly string[],
  layerDecay: Exclude<GroupOptions['layerDecay'], undefined>,
  layerDepths: () => ReadonlyMap<string, number>,
): Map<string, number> {
  if (typeof layerDecay === 'number') {
    const depths = layerDepths()
    // The layer of the output has no parameter of its own if it shares the weight of an embedding.
    const last = Math.min(...depths.values())
    return new Map(names.map((name) => [name, layerDecay ** Math.max(0, (depths.get(name) ?? 0) - last)]))
  }
  const { rate, layers } = layerDecay
  for (const patterns of layers) matchNames(patterns, names, 'trainable tensor')
  return new Map(
    names.map((name) => {
      const layer = layers.findIndex((patterns) => createMatcher(patterns)(name))
      if (layer >= 0) return [name, rate ** (layers.length - 1 - layer)]
      throw new OnnxIreError('invalid-option', `layerDecay.layers: no layer matches the tensor '${name}'`)
    }),
  )
}

/**
 * Counts the layers downstream of each parameter on the longest path to an output: 0 for parameters of the last layer.
 * A layer is a convolution, a matrix product, an embedding or a recurrent operator that reads a parameter, also in a
 * body of If, Loop or Scan, which count as one.
 */
export function layerDepths(graph: Graph): Map<string, number> {
  const nodes = topological(graph.outputs.values())
  const onPath = new Set<Value>(graph.inputs.values())
  const learned = new Set<Value>(graph.parameters.values())
  const layers = new Set<Node>()
  for (const node of nodes) {
    const dependencies = dependenciesOf(node)
    const isOnPath = dependencies.some((x) => onPath.has(x))
    const isLearned = dependencies.some((x) => learned.has(x))
    // A value computed from parameters alone (a transposed weight) belongs to the layer that reads it.
    const marked = isOnPath ? onPath : isLearned ? learned : undefined
    if (marked) for (const y of node.outputs) marked.add(y)
    if (isOnPath && isLearned && hasLayer(node)) layers.add(node)
  }
  const depths = new Map<Value, number>()
  for (const node of [...nodes].reverse()) {
    const after = Math.max(0, ...node.outputs.map((y) => depths.get(y) ?? 0))
    for (const x of dependenciesOf(node)) {
      const depth = onPath.has(x) && layers.has(node) ? after + 1 : after
      depths.set(x, Math.max(depth, depths.get(x) ?? 0))
    }
  }
  return new Map(
    [...graph.parameters].flatMap(([name, value]) => {
      const depth = depths.get(value)
      return depth === undefined ? [] : [[name, depth]]
    }),
  )
}

/** Whether a node, or one in its bodies, is a layer. */
const hasLayer = (node: Node): boolean =>
  definitionOf(node.operator).layer === 'own' || bodiesOf(node).some((body) => nodesOf(body).some(hasLayer))
