import { OnnxIreError } from '../../util/errors.js'
import type { Expr, Formula, Op } from './expr.js'

/** Invocations per workgroup, which every WebGPU device supports. */
export const workgroupSize = 256

/** WGSL of the head of an entry point that is dispatched in x and y. */
export const mainOf = (invocations: number): string => `@compute @workgroup_size(${invocations})
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {`

/** The head with `workgroupSize` invocations. */
export const mainHead = mainOf(workgroupSize)

/** WGSL of the workgroup index, in the body of the entry point. */
export const workgroupIndex = 'group.y * groups.x + group.x'

/** WGSL of the invocation index, in the body of the entry point. */
export const invocationIndex = `(${workgroupIndex}) * ${workgroupSize}u + local`

/** Options of `formulaToWgsl`. Names are those of the formula's arrays and scalars. */
interface ShaderOptions {
  /**
   * Elements per invocation. With 4, the length of every array is a multiple of four, and arrays are aligned to 16
   * bytes.
   */
  readonly width: 1 | 4
  /** Arrays whose buffers change from call to call; they are bound in group 2. */
  readonly fed?: readonly string[]
  /** Read-only arrays of 0 and 1 that are stored as bits, 32 elements per word, from word `call.offset` on. */
  readonly bits?: readonly string[]
  /** WGSL before the entry point; its bindings are in group 0 from binding 1 on. */
  readonly preamble?: string
  /** WGSL of scalars that are computed on the device, of type f32. */
  readonly found?: Readonly<Record<string, string>>
  /** WGSL of a boolean; if true, nothing is written. */
  readonly unless?: string
}

/** One storage buffer of a shader. */
interface ShaderArray {
  readonly name: string
  readonly written: boolean
}

/** A compute shader, entry point `main`, for ceil(items / 256) workgroups in x and y. */
export interface Shader {
  readonly code: string
  /** Storage buffers: bindings 0, 1, ... of group 1. */
  readonly arrays: readonly ShaderArray[]
  /** Storage buffers that change from call to call: bindings 0, 1, ... of group 2. */
  readonly fed: readonly ShaderArray[]
  /** Names of the values of `call.scalars`, in order. */
  readonly scalars: readonly string[]
}

/**
 * WGSL of the arguments of a dispatch, a uniform of group 0, binding 0.
 * @param scalars the number of scalars
 */
export const callStruct = (scalars: number): string => `struct Call {
  count: u32,
  offset: u32,
  stage: u32,
  rest: u32,
  scalars: array<vec4f, ${Math.max(1, Math.ceil(scalars / 4))}>,
}
@group(0) @binding(0) var<uniform> call: Call;`

/** WGSL of scalar `i` of a dispatch. */
const callScalar = (i: number): string => `call.scalars[${i >> 2}].${'xyzw'[i & 3]}`

/** Bytes before the scalars of a dispatch: `count`, `offset`, `stage` and `rest`. */
export const callHeadBytes = 16

/**
 * Converts a formula to a compute shader in float32. Each of `call.count` invocations computes `width` elements, and
 * writes results to the arrays of their names.
 * @throws OnnxIreError `invalid-option` for a constant beyond float32, and for sums of squares, which need more than
 * one pass
 */
export function formulaToWgsl(formula: Formula, options: ShaderOptions): Shader {
  const { width, fed = [], bits = [], preamble = '', found = {}, unless } = options
  if (Object.keys(formula.squares).length > 0)
    throw new OnnxIreError('invalid-option', 'a shader cannot compute sums of squares')
  const written = Object.keys(formula.outputs)
  const names = [...new Set([...formula.arrays, ...written])]
  const scalars = formula.scalars.filter((name) => !Object.hasOwn(found, name))
  const bound = (group: readonly string[]): ShaderArray[] =>
    group.map((name) => ({ name, written: written.includes(name) }))
  const arrays = bound(names.filter((name) => !fed.includes(name)))
  const changing = bound(names.filter((name) => fed.includes(name)))

  const variables = new Map<string, string>()
  const declared = [arrays, changing].flatMap((group, g) =>
    group.map(({ name, written }, binding) => {
      const variable = `${'ab'[g]}${binding}`
      variables.set(name, variable)
      const access = written ? 'read_write' : 'read'
      const element = bits.includes(name) ? 'u32' : 'T'
      return `@group(${g + 1}) @binding(${binding}) var<storage, ${access}> ${variable}: array<${element}>;`
    }),
  )
  const lines: string[] = []
  const known = new Map<Expr, string>()
  const leaves = new Map<string, string>()
  const leaf = (key: string, make: () => string) => {
    const before = leaves.get(key)
    if (before) return before
    const variable = `x${leaves.size}`
    leaves.set(key, variable)
    lines.push(`let ${variable} = ${make()};`)
    return variable
  }
  const emit = (expr: Expr): string => {
    const { node } = expr
    if (node.kind === 'constant') return `T(${literal(node.value)})`
    if (node.kind === 'scalar')
      return leaf(`scalar ${node.name}`, () => `T(${found[node.name] ?? callScalar(scalars.indexOf(node.name))})`)
    if (node.kind === 'array') {
      const variable = variables.get(node.name)!
      return leaf(`array ${node.name}`, () =>
        bits.includes(node.name) ? unpackBits(variable, width) : `${variable}[i]`,
      )
    }
    const before = known.get(expr)
    if (before) return before
    const value = calls[node.op](node.operands.map(emit))
    const variable = `t${known.size}`
    known.set(expr, variable)
    lines.push(`let ${variable} = ${value};`)
    return variable
  }
  // Compute all results before writing the first: a result may replace an operand of another.
  const results = written.map((name) => [variables.get(name)!, emit(formula.outputs[name]!)])
  const code = `alias T = ${width === 4 ? 'vec4f' : 'f32'};
${callStruct(scalars.length)}
${preamble}
${declared.join('\n')}

${mainHead}
  let i = ${invocationIndex};
  if (i >= call.count${unless === undefined ? '' : ` || ${unless}`}) { return; }
  ${lines.join('\n  ')}
  ${results.map(([variable, value]) => `${variable}[i] = ${value};`).join('\n  ')}
}
`
  return { code, arrays, fed: changing, scalars }
}

const calls: Readonly<Record<Op, (of: readonly string[]) => string>> = {
  add: ([a, b]) => `${a} + ${b}`,
  sub: ([a, b]) => `${a} - ${b}`,
  mul: ([a, b]) => `${a} * ${b}`,
  div: ([a, b]) => `${a} / ${b}`,
  min: ([a, b]) => `min(${a}, ${b})`,
  max: ([a, b]) => `max(${a}, ${b})`,
  atMost: ([a, b]) => `select(T(0f), T(1f), ${a} <= ${b})`,
  sqrt: ([x]) => `sqrt(${x})`,
  abs: ([x]) => `abs(${x})`,
  sign: ([x]) => `sign(${x})`,
}

function unpackBits(words: string, width: 1 | 4): string {
  if (width === 1) return `f32((${words}[call.offset + (i >> 5u)] >> (i & 31u)) & 1u)`
  return `vec4f((vec4u(${words}[call.offset + (i >> 3u)] >> ((i & 7u) * 4u)) >> vec4u(0u, 1u, 2u, 3u)) & vec4u(1u))`
}

function literal(value: number): string {
  const rounded = Math.fround(value)
  if (!Number.isFinite(rounded))
    throw new OnnxIreError(
      'invalid-option',
      `a formula has the constant ${value}, beyond the range of float32 (3.4e38)`,
    )
  return `${rounded}f`
}
