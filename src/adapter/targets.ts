import { invalidOption } from '../util/check.js'
import { closest } from '../util/closest.js'
import { OnnxIreError } from '../util/errors.js'
import { createMatcher } from '../util/pattern.js'
import type { Layer } from './layers.js'
import { nameOf } from './layers.js'

/**
 * Whether a target names a layer: by its module path or the end of it (`q_proj`, `self_attn.q_proj`), by the name of a
 * node or weight, or by a pattern with `*` of one of these.
 */
export function isTarget(target: string, { module, sites, weight }: Layer): boolean {
  const names = [module, weight.tensor, ...sites.map(({ node }) => nameOf(node))]
  return target.includes('*')
    ? names.some(createMatcher(target))
    : names.includes(target) || module.endsWith(`.${target}`)
}

/**
 * Selects the layers that targets name. `all-linear` is every linear layer except the output layer of a language model.
 * @param exclude names of layers that are left out
 * @throws OnnxIreError `invalid-option` for a target without a layer, with the closest names
 */
export function selectLayers(
  layers: readonly Layer[],
  targets: string | readonly string[],
  exclude: string | readonly string[] = [],
): readonly Layer[] {
  const selected = new Set<Layer>()
  for (const target of [targets].flat()) {
    const matches =
      target === 'all-linear'
        ? layers.filter(({ isDefault }) => isDefault)
        : layers.filter((layer) => isTarget(target, layer))
    if (matches.length === 0) throw noTarget('targets', target, layers)
    for (const layer of matches) selected.add(layer)
  }
  for (const name of [exclude].flat()) {
    const matches = layers.filter((layer) => isTarget(name, layer))
    if (matches.length === 0) throw noTarget('exclude', name, layers)
    for (const layer of matches) selected.delete(layer)
  }
  if (selected.size === 0)
    throw invalidOption('adapter', 'exclude', [exclude].flat().join(', '), 'fewer layers than targets')
  return layers.filter((layer) => selected.has(layer))
}

/** The error of a name that no layer has. */
export function noTarget(option: string, target: string, layers: readonly Layer[]): OnnxIreError {
  const modules = layers.map(({ module }) => module)
  const names = [...new Set(modules.map((module) => module.split('.').at(-1)!))]
  const similar = closest(target, [...names, ...modules])
  const listed = names.length <= 12 ? names : [...names.slice(0, 12), `... (${names.length} names)`]
  const available =
    names.length === 0
      ? 'the model has no layer that an adapter can change'
      : `available: all-linear, ${listed.join(', ')}; \`onnx-ire inspect --adapter-targets\` lists all`
  return new OnnxIreError(
    'invalid-option',
    `adapter: ${option}: no layer is named '${target}'${similar ? `; did you mean '${similar}'?` : ''}; ${available}`,
  )
}
