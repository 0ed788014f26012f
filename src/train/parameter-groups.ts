import type { Value } from '../ir/value.js'
import type { Optimizer } from '../optim/optimizer.js'
import { unwrap } from '../optim/optimizer.js'
import type { ParameterSettings } from '../optim/parameter-settings.js'
import { checkNames, checkNumber, count, invalidOption, nonNegative } from '../util/check.js'
import { OnnxIreError } from '../util/errors.js'
import { createMatcher, matchNames, type NamePatterns } from '../util/pattern.js'

/** Tensors that are trained in another way than the rest. What is left out is as for the rest. */
export interface ParameterGroup {
  /** Which of the trainable tensors, by name. */
  readonly tensors: NamePatterns
  /** Their learning rate, which the schedule's factor multiplies. */
  readonly lr?: number
  /** Their weight decay. */
  readonly weightDecay?: number
  /** False: IRE neither enhances them nor counts them in its threshold. */
  readonly ire?: boolean
  /** Not trained: at all, or until a step or an epoch (gradual unfreezing). What is frozen costs no gradient. */
  readonly frozen?: boolean | { readonly untilStep: number } | { readonly untilEpoch: number }
}

/** How tensors differ in their training. */
export interface GroupOptions {
  /** Tensors with options of their own. Of two groups that name the same tensor the later one decides, field by field. */
  readonly groups?: readonly ParameterGroup[]
  /**
   * False: no weight decay on biases, scales of norms and all other tensors with one axis. Default true, as in PyTorch.
   */
  readonly decayVectors?: boolean
  /**
   * Layer-wise learning-rate decay: the rate of a tensor is multiplied by this for every layer between it and the output
   * (Howard & Ruder 2018). Layers are counted along the longest path; or list the names of each, from input to output.
   */
  readonly layerDecay?: number | { readonly rate: number; readonly layers: readonly NamePatterns[] }
}

/** Refuses misspelt and impossible groups. Throws `invalid-option`. */
export function checkGroups({ groups = [], layerDecay }: GroupOptions, optimizer: Optimizer): void {
  for (const [i, group] of groups.entries()) {
    const owner = `groups[${i}]`
    checkNames(owner, group, ['tensors', 'lr', 'weightDecay', 'ire', 'frozen'])
    if (group.lr !== undefined) checkNumber(owner, 'lr', group.lr, nonNegative)
    if (group.lr && unwrap(optimizer).base.lr === 0)
      throw invalidOption(owner, 'lr', group.lr, "left out: the optimizer's own is 0, of which it would be a multiple")
    const { frozen } = group
    if (frozen !== undefined && typeof frozen !== 'boolean') {
      const times = Object.keys(Object(frozen))
      if (typeof frozen !== 'object' || times.length !== 1 || !['untilStep', 'untilEpoch'].includes(times[0]!))
        throw invalidOption(owner, 'frozen', JSON.stringify(frozen), 'true, false, { untilStep } or { untilEpoch }')
    }
    if (group.weightDecay !== undefined) checkNumber(owner, 'weightDecay', group.weightDecay, nonNegative)
  }
  const rate = typeof layerDecay === 'object' ? layerDecay.rate : (layerDecay ?? 1)
  checkNumber('Trainer', 'layerDecay', rate, { min: 0, max: 1 })
}

/** The tensors that groups freeze for good. Throws `invalid-option` for a pattern that fits nothing, and when nothing is left to train. */
export function findFrozen(names: readonly string[], { groups = [] }: GroupOptions): Set<string> {
  for (const { tensors } of groups) matchNames(tensors, names, 'trainable tensor')
  const frozen = new Set(names.filter((name) => groups.findLast(of(name, 'frozen'))?.frozen === true))
  if (frozen.size < names.length || frozen.size === 0) return frozen
  throw new OnnxIreError('invalid-option', 'groups: every trainable tensor is frozen; leave some to be trained')
}

/** The last group that says something about this field of this tensor. */
const of = (name: string, field: keyof ParameterGroup) => (group: ParameterGroup) =>
  group[field] !== undefined && createMatcher(group.tensors)(name)

/**
 * What each tensor's training differs in.
 * @param behind layers behind each tensor, for `layerDecay`
 * @param stepsPerEpoch undefined where nobody knows
 */
export function resolveParameterSettings(
  parameters: ReadonlyMap<string, Value>,
  options: GroupOptions,
  optimizer: Optimizer,
  behind: () => ReadonlyMap<string, number>,
  stepsPerEpoch: number | undefined,
): Record<string, ParameterSettings> {
  const { groups = [], decayVectors = true, layerDecay } = options
  const { base } = unwrap(optimizer)
  const scales = layerDecay === undefined ? undefined : layerScales([...parameters.keys()], layerDecay, behind)
  const settings: Record<string, ParameterSettings> = {}
  for (const [name, value] of parameters) {
    const said = <K extends keyof ParameterGroup>(field: K) => groups.findLast(of(name, field))?.[field]
    const [lr, decay, ire, frozen] = [said('lr'), said('weightDecay'), said('ire'), said('frozen')]
    const lrScale = (lr === undefined ? 1 : lr / base.lr) * (scales?.get(name) ?? 1)
    const weightDecay = decay ?? (decayVectors || !isVector(value) ? undefined : 0)
    const since = typeof frozen === 'object' ? firstStep(frozen, stepsPerEpoch) : 0
    const own: ParameterSettings = {
      ...(lrScale === 1 ? {} : { lrScale }),
      ...(weightDecay === undefined ? {} : { weightDecay }),
      ...(ire === undefined ? {} : { enhanced: ire }),
      ...(since === 0 ? {} : { startStep: since }),
    }
    if (Object.keys(own).length > 0) settings[name] = own
  }
  return settings
}

/** At most one axis that is longer than 1: exporters write a bias as [C, 1, 1] too. */
const isVector = ({ shape }: Value): boolean => (shape?.filter((dim) => dim !== 1).length ?? 0) <= 1

function firstStep(
  frozen: { readonly untilStep: number } | { readonly untilEpoch: number },
  stepsPerEpoch: number | undefined,
): number {
  if ('untilStep' in frozen) return checkNumber('groups', 'frozen.untilStep', frozen.untilStep, count)
  const epoch = checkNumber('groups', 'frozen.untilEpoch', frozen.untilEpoch, count)
  if (stepsPerEpoch !== undefined) return epoch * stepsPerEpoch
  throw new OnnxIreError(
    'invalid-option',
    'groups: frozen.untilEpoch needs data of known length; give untilStep instead',
  )
}

function layerScales(
  names: readonly string[],
  layerDecay: Exclude<GroupOptions['layerDecay'], undefined>,
  behind: () => ReadonlyMap<string, number>,
): Map<string, number> {
  if (typeof layerDecay === 'number') {
    const layersBehind = behind()
    return new Map(names.map((name) => [name, layerDecay ** (layersBehind.get(name) ?? 0)]))
  }
  const { rate, layers: listed } = layerDecay
  for (const patterns of listed) matchNames(patterns, names, 'trainable tensor')
  return new Map(
    names.map((name) => {
      const layer = listed.findIndex((patterns) => createMatcher(patterns)(name))
      if (layer >= 0) return [name, rate ** (listed.length - 1 - layer)]
      throw new OnnxIreError('invalid-option', `layerDecay: '${name}' is in none of the layers listed`)
    }),
  )
}
