/** Bytes of WebAssembly's binary format. */
export type Bytes = readonly number[]

/** Codes of the value types. */
export const types = { i32: 0x7f, f64: 0x7c, v128: 0x7b } as const

/** The type of a local, parameter or result. */
export type ValueType = keyof typeof types

/** Opcodes of instructions without prefix. */
const plain = {
  block: 0x02,
  loop: 0x03,
  end: 0x0b,
  br_if: 0x0d,
  'local.get': 0x20,
  'local.set': 0x21,
  'local.tee': 0x22,
  'i32.load': 0x28,
  'i32.load16_u': 0x2f,
  'i32.store': 0x36,
  'f64.load': 0x2b,
  'f64.store': 0x39,
  'i32.const': 0x41,
  'i32.eqz': 0x45,
  'i32.ne': 0x47,
  'i32.lt_s': 0x48,
  'i32.add': 0x6a,
  'i32.sub': 0x6b,
  'i32.and': 0x71,
  'i32.or': 0x72,
  'i32.shl': 0x74,
  'i32.shr_u': 0x76,
  'f64.add': 0xa0,
} as const

const vector = {
  'v128.load': 0x00,
  'v128.load32_splat': 0x09,
  'v128.load64_splat': 0x0a,
  'v128.store': 0x0b,
  'v128.const': 0x0c,
  'i8x16.shuffle': 0x0d,
  'i32x4.splat': 0x11,
  'f64x2.extract_lane': 0x21,
  'i32x4.eq': 0x37,
  'i32x4.gt_s': 0x3b,
  'f32x4.lt': 0x43,
  'f32x4.gt': 0x44,
  'f32x4.le': 0x45,
  'f64x2.lt': 0x49,
  'f64x2.gt': 0x4a,
  'f64x2.le': 0x4b,
  'v128.and': 0x4e,
  'v128.any_true': 0x53,
  'v128.store16_lane': 0x59,
  'v128.store32_lane': 0x5a,
  'v128.load32_zero': 0x5c,
  'f64x2.promote_low_f32x4': 0x5f,
  'i8x16.narrow_i16x8_u': 0x66,
  'i16x8.narrow_i32x4_s': 0x85,
  'i16x8.extend_low_i8x16_u': 0x89,
  'i32x4.extend_low_i16x8_u': 0xa9,
  'i32x4.add': 0xae,
  'f32x4.abs': 0xe0,
  'f32x4.sqrt': 0xe3,
  'f32x4.add': 0xe4,
  'f32x4.sub': 0xe5,
  'f32x4.mul': 0xe6,
  'f32x4.div': 0xe7,
  'f32x4.min': 0xe8,
  'f32x4.max': 0xe9,
  'f64x2.abs': 0xec,
  'f64x2.sqrt': 0xef,
  'f64x2.add': 0xf0,
  'f64x2.sub': 0xf1,
  'f64x2.mul': 0xf2,
  'f64x2.div': 0xf3,
  'f64x2.min': 0xf4,
  'f64x2.max': 0xf5,
  'i32x4.trunc_sat_f32x4_s': 0xf8,
  'f32x4.convert_i32x4_s': 0xfa,
  'i32x4.trunc_sat_f64x2_s_zero': 0xfc,
  'f64x2.convert_low_i32x4_s': 0xfe,
} as const

/** A supported instruction. */
export type Instruction = keyof typeof plain | keyof typeof vector

/** Encodes an instruction with its immediate operands. */
export const code = (name: Instruction, ...immediates: readonly number[]): number[] =>
  name in vector
    ? [0xfd, ...encodeUnsigned(vector[name as keyof typeof vector]), ...immediates]
    : [plain[name as keyof typeof plain], ...immediates]

export const get = (local: number): number[] => code('local.get', ...encodeUnsigned(local))
export const set = (local: number): number[] => code('local.set', ...encodeUnsigned(local))
export const tee = (local: number): number[] => code('local.tee', ...encodeUnsigned(local))
export const i32 = (value: number): number[] => code('i32.const', ...signed(value))

/** Encodes a memory access at the address on the stack plus `offset`; `lane` for accesses of one lane of a vector. */
export const memory = (name: Instruction, offset: number, lane?: number): number[] =>
  // The alignment is only a hint.
  code(name, 0, ...encodeUnsigned(offset), ...(lane === undefined ? [] : [lane]))

/** A loop that repeats `body` while the i32 that it leaves on the stack is not 0. */
export const repeatWhile = (...body: readonly Bytes[]): number[] => [
  ...code('loop', noResult),
  ...body.flat(),
  ...code('br_if', 0),
  ...code('end'),
]

/** A block; `br_if 0` in its body jumps to its end. */
export const block = (...body: readonly Bytes[]): number[] => [
  ...code('block', noResult),
  ...body.flat(),
  ...code('end'),
]

/** An exported function without result. The first locals are the parameters. */
export interface Func {
  readonly name: string
  readonly parameters: readonly ValueType[]
  readonly locals: readonly ValueType[]
  readonly body: Bytes
}

/** Limits of an imported memory: its pages, or the largest number of pages of shared memory. */
export type MemoryLimits = { readonly pages: number } | { readonly maxSharedPages: number }

/** Assembles a module of functions over one imported memory, `host.memory`. */
export function assemble(functions: readonly Func[], limits: MemoryLimits): Uint8Array<ArrayBuffer> {
  const limit =
    'pages' in limits
      ? [1, ...encodeUnsigned(limits.pages), ...encodeUnsigned(limits.pages)]
      : [3, 1, ...encodeUnsigned(limits.maxSharedPages)]
  const vectorOf = (items: readonly Bytes[]) => [...encodeUnsigned(items.length), ...items.flat()]
  const section = (id: number, content: Bytes) => [id, ...encodeUnsigned(content.length), ...content]
  const name = (text: string) => vectorOf([...text].map((c) => [c.charCodeAt(0)]))
  const valueTypes = (list: readonly ValueType[]) => vectorOf(list.map((type) => [types[type]]))
  const bodies = functions.map(({ locals, body }) => {
    const content = [...vectorOf(locals.map((type) => [1, types[type]])), ...body, ...code('end')]
    return [...encodeUnsigned(content.length), ...content]
  })
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // '\0asm', version 1
    ...section(1, vectorOf(functions.map(({ parameters }) => [0x60, ...valueTypes(parameters), 0]))),
    ...section(2, vectorOf([[...name('host'), ...name('memory'), 2, ...limit]])),
    ...section(3, vectorOf(functions.map((_, i) => encodeUnsigned(i)))),
    ...section(7, vectorOf(functions.map((f, i) => [...name(f.name), 0, ...encodeUnsigned(i)]))),
    ...section(10, vectorOf(bodies)),
  ])
}

const noResult = 0x40

/** Encodes an unsigned integer as LEB128. */
function encodeUnsigned(value: number): number[] {
  const bytes: number[] = []
  for (let left = value; ; left >>>= 7) {
    if (left < 0x80) return [...bytes, left]
    bytes.push((left & 0x7f) | 0x80)
  }
}

function signed(value: number): number[] {
  const bytes: number[] = []
  for (let left = value; ; left >>= 7) {
    if (left >= -0x40 && left < 0x40) return [...bytes, left & 0x7f]
    bytes.push((left & 0x7f) | 0x80)
  }
}
