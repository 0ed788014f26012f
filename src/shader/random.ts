import type { Node, Value } from '../ir/value.js'
import { getOwn } from '../util/record.js'
import { type Code, type Emitter, type Index, natural } from './code.js'
import { literal } from './types.js'

/** The source of the random numbers of a program. */
export interface Sampling {
  /** Two numbers: one that differs between programs, and the number of the run. */
  readonly state: Value
  /** Numbers of the nodes that sample. */
  readonly numbers: ReadonlyMap<Node, number>
}

const attribute = ({ attributes }: Node, name: string) => getOwn(attributes, name) as number
const float = (value: number) => literal('f32', value)

/** WGSL of an element of an operator's result from three random words. */
const samplers: Readonly<Record<string, (words: string, node: Node) => string>> = {
  RandomUniform: (words, node) => {
    const [low, high] = [attribute(node, 'low'), attribute(node, 'high')]
    return `${float(low)} + ${float(high - low)} * (f32(${words}.x >> 8u) * 0x1p-24f)`
  },
  RandomNormal: (words, node) =>
    `${float(attribute(node, 'mean'))} + ${float(attribute(node, 'scale'))} * normalOf(${words})`,
}

/** Whether a node samples the elements of its result. */
export const isSampler = ({ operator, domain }: Node): boolean => domain === '' && Object.hasOwn(samplers, operator)

/** About the number of operations of a sampled element. */
export const samplingCost = 20

/**
 * An element of the result of a node that samples. It depends on the position, the node and the run alone, so that it
 * is the same wherever it is computed. Nodes with the same `seed` have the same elements, in every program.
 * @param state reads an element of `Sampling.state`
 */
export function sample(emitter: Emitter, node: Node, number: number, { flat }: Index, state: (at: Code) => Code): Code {
  const seed = node.attributes['seed'] as number | undefined
  const [program, run] = [state(natural(0)), state(natural(1))]
  const key = seed === undefined ? `u32(${program.text}) ^ ${number}u` : `${bitsOf(seed)}u`
  const words = emitter.let(`randomWords(${flat.text}, ${key}, u32(${run.text}))`, flat, program, run)
  return emitter.let(samplers[node.operator]!(words.text, node), words)
}

const bitsOf = (x: number): number => new Uint32Array(Float32Array.of(x).buffer)[0]!

/** WGSL functions that `sample` calls, each with its name. */
export const samplingFunctions: Readonly<Record<string, string>> = {
  // The hash function pcg3d of Jarzynski and Olano (2020), Hash Functions for GPU Rendering.
  randomWords: `fn randomWords(position: u32, key: u32, run: u32) -> vec3u {
  var v = vec3u(position, key, run) * 1664525u + 1013904223u;
  v.x += v.y * v.z;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  v ^= v >> vec3u(16u);
  v.x += v.y * v.z;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  return v;
}`,
  // Box and Muller; the first number is in (0, 1].
  normalOf: `fn normalOf(words: vec3u) -> f32 {
  let numbers = vec2f(words.xy >> vec2u(8u)) * 0x1p-24f;
  return sqrt(-2f * log(1f - numbers.x)) * cos(${2 * Math.PI}f * numbers.y);
}`,
}
