import type { Formula } from '../../optim/expr/expr.js'
import { formulaToWgsl, type Shader, WORKGROUP } from '../../optim/expr/wgsl.js'
import { OnnxIreError } from '../../util/errors.js'
import { type Access, type Kernel, type Kernels, MOST_SCALARS } from './kernels.js'
import type { Plan } from './plan.js'
import type { Slot } from './slots.js'
import { STATE_UNIFORM } from './state.js'

/** The buffers of a formula's arrays in one slot, but for `g`, which is fed. */
export type ArraysOf = (slot: Slot, array: string) => GPUBuffer

interface Compiled {
  readonly shader: Shader
  readonly kernel: Kernel
  readonly groups: Map<Slot, GPUBindGroup>
}

/**
 * A formula that runs over slots, in place, while nothing is wrong with the step. Its array `g` is fed, `n` is the mask,
 * and its scalar `scale` is the device's.
 */
export class FormulaKernel {
  readonly #label: string
  readonly #formula: Formula
  readonly #kernels: Kernels
  readonly #arrays: ArraysOf
  readonly #compiled = new Map<1 | 4, Promise<Compiled>>()

  constructor(label: string, formula: Formula, kernels: Kernels, arrays: ArraysOf) {
    this.#label = label
    this.#formula = formula
    this.#kernels = kernels
    this.#arrays = arrays
  }

  /**
   * Adds the dispatch of one slot to a plan.
   * @param fed the bind group of `g`; null where the formula has none
   * @throws 'runtime' when the device refuses the shader
   */
  async add(
    plan: Plan,
    slot: Slot,
    fed: GPUBindGroup | null,
    scalars: Readonly<Record<string, number>>,
  ): Promise<void> {
    const { shader, kernel, groups } = await this.#of(slot.width)
    const own =
      groups.get(slot) ??
      this.#kernels.group(
        kernel.groups[1]!,
        shader.arrays.map(({ name }) => this.#arrays(slot, name)),
      )
    groups.set(slot, own)
    const count = slot.count / slot.width
    plan.add(kernel, fed ? [own, fed] : [own], Math.ceil(count / WORKGROUP), {
      count,
      offset: slot.word,
      scalars: shader.scalars.map((name) => scalars[name]!),
    })
  }

  #of(width: 1 | 4): Promise<Compiled> {
    const known = this.#compiled.get(width)
    if (known) return known
    const made = this.#compile(width)
    this.#compiled.set(width, made)
    // One that failed is tried anew when it is needed again.
    made.catch(() => this.#compiled.delete(width))
    return made
  }

  async #compile(width: 1 | 4): Promise<Compiled> {
    const made = formulaToWgsl(this.#formula, {
      width,
      fed: ['g'],
      bits: ['n'],
      preamble: STATE_UNIFORM,
      found: { scale: 'state.scale' },
      unless: 'state.fault != 0u',
    })
    if (made.scalars.length > MOST_SCALARS)
      throw new OnnxIreError(
        'invalid-option',
        `${this.#label}: the optimizer's formula has ${made.scalars.length} scalars; at most ${MOST_SCALARS} are carried to a WebGPU shader`,
      )
    const access = (written: boolean): Access => (written ? 'write' : 'read')
    const groups = [made.arrays, made.fed].map((arrays) => arrays.map(({ written }) => access(written)))
    const kernel = await this.#kernels.kernel(this.#label, made.code, [
      ['call', 'uniform'],
      ...groups.filter((group) => group.length > 0),
    ])
    return { shader: made, kernel, groups: new Map() }
  }
}
