import type { Attributes, Node, Value } from '../ir/value.js'
import { getOwn } from '../util/record.js'
import type { Definition, InputFacts } from './define.js'
import { definitionOf, definitions } from './op.js'

/** The definition of operator `name` of a domain ('' is ai.onnx), or undefined if this library has no such operator. */
export function findDefinition(domain: string, name: string): Definition | undefined {
  const definition = Object.hasOwn(definitions, name) ? definitionOf(name) : undefined
  return definition?.domain === domain ? definition : undefined
}

/** Whether input number `index` of an operator is in the list `fact` of its definition. */
export function isInput(definition: Definition, fact: keyof InputFacts, index: number): boolean {
  const slot = inputSlot(definition, index)
  return slot !== undefined && definition[fact].includes(slot.replace('...', '').replace('?', ''))
}

/** The inputs of a node that are in the list `fact` of its definition; absent ones are left out. */
export function inputsWith(fact: keyof InputFacts, { operator, inputs }: Node): readonly Value[] {
  const definition = definitionOf(operator)
  if (definition[fact].length === 0) return []
  return inputs.filter((value, index): value is Value => value !== null && isInput(definition, fact, index))
}

/**
 * The axes that count the filters of a weight with `rank` axes that a node reads as input number `index`, if any do.
 */
export function filterAxesOf({ operator, attributes }: Node, index: number, rank: number) {
  const definition = definitionOf(operator)
  const slot = inputSlot(definition, index)
  return slot === undefined ? undefined : getOwn(definition.filterAxes, slot.replace('?', ''))?.(attributes, rank)
}

function inputSlot({ inputs }: Definition, index: number): string | undefined {
  const last = inputs.at(-1)
  return inputs[index] ?? (last?.startsWith('...') ? last : undefined)
}

/** Whether a node's output differs from run to run for the same inputs. */
export function isRandom({ operator, inputs }: Node): boolean {
  const definition = definitionOf(operator)
  const { random } = definition
  return typeof random === 'boolean' ? random : random(padInputs(definition, inputs))
}

/** Whether the first output of a node shares the memory of its first input. */
export function sharesMemory(node: Node): boolean {
  const { view } = definitionOf(node.operator)
  return (view === 'same' || view === 'reshaped') && !isRandom(node)
}

/**
 * Number of operations of a node without bodies: 2 for a multiply-add, none for moving elements. NaN if it depends on
 * unknown lengths or on the data.
 */
export function flopsOf({ operator, inputs, outputs, attributes }: Node): number {
  const definition = definitionOf(operator)
  return definition.flops!(padInputs(definition, inputs), outputs, attributes)
}

/** The attributes of a node with its element types replaced (attributes that are ONNX numbers of types). */
export function replaceElementTypes({ operator, attributes }: Node, replace: (type: number) => number): Attributes {
  const specs = definitionOf(operator).attributes
  return Object.fromEntries(
    Object.entries(attributes).map(([key, value]) => [
      key,
      getOwn(specs, key)?.numbersType && typeof value === 'number' ? replace(value) : value,
    ]),
  )
}

/** One element per input slot: null for optional inputs left out at the end. */
function padInputs({ inputs: slots }: Definition, inputs: readonly (Value | null)[]): readonly (Value | null)[] {
  if (inputs.length >= slots.length || slots.at(-1)?.startsWith('...')) return inputs
  return slots.map((_, index) => inputs[index] ?? null)
}
