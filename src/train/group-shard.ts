import { type FloatArray, mapArrays } from '../ir/float-array.js'
import type { MomentArray, ParameterArrays } from '../optim/arrays.js'
import { createMoment, type Rules } from '../optim/base-optimizer.js'
import type { FlatMask } from '../optim/ire/mask.js'
import { unwrap } from '../optim/optimizer.js'
import { samMoment } from '../optim/sam.js'
import type { Shard } from '../optim/shard.js'
import type { OptimizerState } from '../optim/state.js'
import { emptyRecord, getOwn } from '../util/record.js'
import type { TrainerOptions } from './options.js'
import type { ProcessGroup, SumGradients } from './process-group.js'

/**
 * Divides tensors among processes, so that each has about as many elements: from the largest tensor on, each is given
 * to the process that has the fewest. Returns the rank of each tensor's owner.
 */
export function divideTensors(lengths: Readonly<Record<string, number>>, processes: number): Map<string, number> {
  const totals = new Array<number>(processes).fill(0)
  const owners = new Map<string, number>()
  for (const [name, length] of Object.entries(lengths).toSorted(([, a], [, b]) => b - a)) {
    const owner = totals.indexOf(Math.min(...totals))
    totals[owner]! += length
    owners.set(name, owner)
  }
  return owners
}

/** The share of a process of a group in the optimizer's state. */
export class GroupShard implements Shard {
  readonly #group: ProcessGroup
  readonly #parameters: ParameterArrays
  readonly #rules: Rules
  readonly #owners: ReadonlyMap<string, number>
  /** Moments that every process stores: evaluation reads them, or SAM computes them from all gradients. */
  readonly #whole: ReadonlySet<string>

  readonly dividesGradients: boolean

  constructor(
    group: ProcessGroup,
    parameters: ParameterArrays,
    { optimizer, clipValue }: Pick<TrainerOptions, 'optimizer' | 'clipValue'>,
    rules: Rules,
  ) {
    this.#group = group
    this.#parameters = parameters
    this.#rules = rules
    const lengths = mapArrays(parameters, ({ length }) => length)
    this.#owners = divideTensors(lengths, group.size)
    const { base, sam, ire } = unwrap(optimizer)
    // SAM and empirical curvature read all gradients, and so does the norm of clipped ones.
    this.dividesGradients = sam === null && ire?.curvature !== 'empirical' && clipValue === undefined
    const own = sam && samMoment(sam)
    this.#whole = new Set([...Object.keys(base.evaluation ?? {}), ...(own ? [own] : [])])
  }

  readonly owns = (name: string): boolean => this.#owners.get(name) === this.#group.rank

  readonly holds = (array: string, name: string): boolean => this.#whole.has(array) || this.owns(name)

  readonly sum = (arrays: readonly FloatArray[]): Promise<void> => this.#group.allReduce(arrays)

  readonly share = (tensors: ParameterArrays): Promise<void> => this.#group.gatherParts(this.#divide(tensors))

  /** Replaces the gradients of the tensors that this process owns by their sums over all processes. */
  readonly sumOwn: SumGradients = (gradients) => this.#group.reduceScatter(this.#divide(gradients))

  /** Returns the gradients that a step gets: those of the tensors that this process owns, unless it needs all. */
  selectOwn<T>(gradients: Readonly<Record<string, T>>): Readonly<Record<string, T>> {
    if (!this.dividesGradients) return gradients
    return Object.fromEntries(Object.entries(gradients).filter(([name]) => this.owns(name)))
  }

  /** Divides arrays by the owners of their tensors. */
  #divide(tensors: ParameterArrays): FloatArray[][] {
    const parts = Array.from({ length: this.#group.size }, (): FloatArray[] => [])
    for (const [name, array] of Object.entries(tensors)) parts[this.#owners.get(name)!]!.push(array)
    return parts
  }

  /**
   * Collects the whole state in rank 0; arrays of this process are not copied. Every process of the group calls this,
   * and the others get undefined.
   */
  async collect({ step, moments, mask, estimate }: OptimizerState): Promise<OptimizerState | undefined> {
    const all: Record<string, Record<string, MomentArray>> = emptyRecord()
    // The order of `initialState`, which is that of the arrays in a checkpoint.
    for (const [name, parameter] of Object.entries(this.#parameters)) {
      const rule = this.#rules(name)
      for (const moment of rule.moments) {
        const arrays = getOwn(all, moment) ?? emptyRecord()
        all[moment] = arrays
        const create = () => createMoment(rule, moment, likeParameter(parameter))
        await this.#collectArray(arrays, name, getOwn(moments, moment) ?? {}, create)
      }
    }
    for (const [moment, arrays] of Object.entries(moments)) if (!Object.hasOwn(all, moment)) all[moment] = { ...arrays }
    const allMask = mask && (await this.#collectMask(mask))
    return this.#group.rank === 0 ? { step, moments: all, mask: allMask, ...(estimate ? { estimate } : {}) } : undefined
  }

  async #collectMask({ flat, curvature, ...numbers }: FlatMask): Promise<FlatMask> {
    const allFlat: Record<string, Uint8Array> = emptyRecord()
    const allCurvature: Record<string, FloatArray> = emptyRecord()
    for (const [name, parameter] of Object.entries(this.#parameters)) {
      await this.#collectArray(allFlat, name, flat, () => new Uint8Array(parameter.length))
      if (curvature) await this.#collectArray(allCurvature, name, curvature, () => likeParameter(parameter))
    }
    return { flat: allFlat, curvature: curvature && allCurvature, ...numbers }
  }

  /** Gets an array of a tensor's state from the tensor's owner. Processes other than rank 0 do not keep it. */
  async #collectArray<A extends MomentArray>(
    all: Record<string, A>,
    name: string,
    own: Readonly<Record<string, A>>,
    create: () => A,
  ): Promise<void> {
    const array = getOwn(own, name) ?? create()
    await this.#group.broadcast([array], this.#owners.get(name)!)
    if (this.#group.rank === 0) all[name] = array
  }
}

/** A zeroed array like a parameter, outside of the memory that the arrays of a trainer share until its end. */
const likeParameter = (parameter: FloatArray): FloatArray =>
  parameter instanceof Float64Array ? new Float64Array(parameter.length) : new Float32Array(parameter.length)
