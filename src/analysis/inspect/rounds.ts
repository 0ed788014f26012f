import { constantNumber, input } from '../../ir/leaf.js'
import { axisOf } from '../../ir/shape.js'
import type { Body, Node, Value } from '../../ir/value.js'

/** How often a Loop or Scan runs its body; undefined where only the run will tell. */
export function roundsOf(node: Node): number | undefined {
  if (node.operator === 'Loop') return fixedRounds(node)
  const [axis] = (node.attributes['scan_input_axes'] as readonly number[] | undefined) ?? []
  const scanned = node.inputs[statesOf(node)]?.shape
  const length = scanned?.[axisOf(axis ?? 0, scanned.length)]
  return typeof length === 'number' ? length : undefined
}

/** The bound, unless something in the body may end the loop before. */
function fixedRounds({ inputs: [bound, go], attributes }: Node): number | undefined {
  const of = attributes['body'] as Body
  const rounds = bound?.contents?.[0]
  const isTrue = (value: Value | null | undefined) => constantNumber(value) === 1
  const endless = (!go || isTrue(go)) && (of.outputs[0] === of.inputs[1] || isTrue(of.outputs[0]))
  return typeof rounds === 'number' && endless ? Math.max(0, rounds) : undefined
}

/** States of a Scan, which come before what it scans. */
const statesOf = ({ inputs, attributes }: Node): number => inputs.length - (attributes['num_scan_inputs'] as number)

/** Inputs for a body as the first round has them: of the shapes of the initial states and of slices. */
export function roundInputs(node: Node, of: Body): readonly Value[] {
  const looped = node.operator === 'Loop'
  const states = looped ? node.inputs.slice(2) : node.inputs.slice(0, statesOf(node))
  const scanned = looped ? [] : node.inputs.slice(states.length)
  const axes = (node.attributes['scan_input_axes'] as readonly number[] | undefined) ?? []
  const slices = scanned.map((x, i) => x?.shape?.toSpliced(axisOf(axes[i] ?? 0, x.shape.length), 1))
  const shapes = [...(looped ? [[], []] : []), ...states.map((x) => x?.shape), ...slices]
  return of.inputs.map(({ name = 'x', dtype, shape }, i) => input(name, dtype, shapes[i] ?? shape))
}
