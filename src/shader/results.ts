import type { Value } from '../ir/value.js'
import { type Code, Index } from './code.js'
import { dimsOf, elementsOf } from './types.js'
import { invocation, type KernelWriter, type ShaderKernel, type Slot } from './writer.js'

/** The label of the kernel that computes a value. */
export const labelOf = ({ source, name }: Value): string =>
  source.kind === 'node' ? source.operator : (name ?? 'value')

/** Writes the element of `root`, where the anchor's element is known. */
export function storeRoot(
  writer: KernelWriter,
  root: Value,
  slot: Slot,
  anchor: Value,
  element: Code,
  at: Index,
): void {
  writer.registers.set(anchor, element)
  const index = at.reshaped(dimsOf(root))
  writer.store(slot, index.flat, writer.element(root, index).text)
}

/** The combination of the parts of a sum or another reduction. */
interface Combination {
  readonly initial: string
  readonly combine: (a: string, b: string) => string
  readonly finish: (combined: Code, at: Index) => Code
}

/** A kernel that combines the parts of every element. */
export function combineParts(
  writer: KernelWriter,
  root: Value,
  slot: Slot,
  anchor: Value,
  partial: Slot,
  parts: number,
  { initial, combine, finish }: Combination,
): ShaderKernel {
  const { emitter } = writer
  const size = elementsOf(anchor)
  const all = emitter.variable(initial)
  emitter.loop(parts, (part) => {
    const at = emitter.add(emitter.mul(part, size), invocation)
    emitter.line(`${all} = ${combine(all, writer.load(partial, at).text)};`)
  })
  const at = Index.flat(emitter, dimsOf(anchor), invocation)
  storeRoot(writer, root, slot, anchor, finish(finalValue(writer, all), at), at)
  return writer.finish(`${labelOf(anchor)}, parts`, slot, size)
}

/** The value of a variable that is not assigned to any more. */
export function finalValue({ emitter }: KernelWriter, variable: string): Code {
  emitter.line(`let ${variable}_ = ${variable};`)
  return { text: `${variable}_`, depth: emitter.depth }
}
