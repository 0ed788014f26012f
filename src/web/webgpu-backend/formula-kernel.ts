import type { Formula } from '../../optim/expr/expr.js'
import { formulaToWgsl, type Shader, workgroupSize } from '../../optim/expr/wgsl.js'
import { OnnxIreError } from '../../util/errors.js'
import type { DispatchList } from './dispatch-list.js'
import { type Access, type Kernel, type KernelCache, maxScalars } from './kernel-cache.js'
import type { ParameterBuffers } from './parameter-buffers.js'
import { stateUniform } from './step-state.js'

/** Returns the buffer of a formula's array for one parameter; `g` is bound separately. */
type BufferOf = (buffers: ParameterBuffers, array: string) => GPUBuffer

interface Compiled {
  readonly shader: Shader
  readonly kernel: Kernel
  readonly groups: Map<ParameterBuffers, GPUBindGroup>
}

/**
 * A formula as a compute shader over parameters, in place. The array `g` is bound per call, `n` is the mask, and the
 * scalar `scale` is in the step's state. After a fault in the step nothing is written.
 */
export class FormulaKernel {
  readonly #label: string
  readonly #formula: Formula
  readonly #kernels: KernelCache
  readonly #bufferOf: BufferOf
  readonly #compiled = new Map<1 | 4, Promise<Compiled>>()

  constructor(label: string, formula: Formula, kernels: KernelCache, bufferOf: BufferOf) {
    this.#label = label
    this.#formula = formula
    this.#kernels = kernels
    this.#bufferOf = bufferOf
  }

  /**
   * Adds the dispatch of one parameter.
   * @param input the bind group of `g`; null if the formula does not read it
   * @throws OnnxIreError `runtime` if WebGPU rejects the shader
   */
  async add(
    dispatches: DispatchList,
    buffers: ParameterBuffers,
    input: GPUBindGroup | null,
    scalars: Readonly<Record<string, number>>,
  ): Promise<void> {
    const { shader, kernel, groups } = await this.#get(buffers.width)
    const own =
      groups.get(buffers) ??
      this.#kernels.group(
        kernel.groups[1]!,
        shader.arrays.map(({ name }) => this.#bufferOf(buffers, name)),
      )
    groups.set(buffers, own)
    const count = buffers.count / buffers.width
    dispatches.add(kernel, input ? [own, input] : [own], Math.ceil(count / workgroupSize), {
      count,
      offset: buffers.word,
      scalars: shader.scalars.map((name) => scalars[name]!),
    })
  }

  #get(width: 1 | 4): Promise<Compiled> {
    const known = this.#compiled.get(width)
    if (known) return known
    const made = this.#compile(width)
    this.#compiled.set(width, made)
    // A failed compilation is repeated at the next call.
    made.catch(() => this.#compiled.delete(width))
    return made
  }

  async #compile(width: 1 | 4): Promise<Compiled> {
    const made = formulaToWgsl(this.#formula, {
      width,
      fed: ['g'],
      bits: ['n'],
      preamble: stateUniform,
      found: { scale: 'state.scale' },
      unless: 'state.fault != 0u',
    })
    if (made.scalars.length > maxScalars)
      throw new OnnxIreError(
        'invalid-option',
        `${this.#label}: the optimizer's formula has ${made.scalars.length} scalars; a WebGPU shader takes at most ${maxScalars}`,
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
