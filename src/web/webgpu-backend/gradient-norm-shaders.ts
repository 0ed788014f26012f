import { callStruct, mainOf, workgroupIndex, workgroupSize } from '../../optim/expr/wgsl.js'
import { selectionStruct, stages, stateStruct } from './step-state.js'

/** Bytes of one `Part`. */
export const partBytes = 20

/**
 * Elements of a part, which one workgroup sums, and invocations of a workgroup. On a software GPU, invocations that
 * wait for each other at barriers take far longer than the sums.
 */
export const summingOn = ({ adapterInfo }: GPUDevice) =>
  adapterInfo.isFallbackAdapter
    ? ({ part: 2 ** 15, invocations: 16 } as const)
    : ({ part: 2 ** 13, invocations: workgroupSize } as const)

/** WGSL of the first element of a part and the one after its last, of `call.rest` parts of equal length. */
export const partRange = `let size = (call.count + call.rest - 1u) / call.rest;
  let start = part * size;
  let end = min(call.count, start + size);`

const noFault = '0xffffffffu'

const partStruct = `struct Part {
  small: f32,
  middle: f32,
  large: f32,
  clipped: f32,
  fault: u32,
}`

/** WGSL that sums a vec4f and takes the least u32 over a workgroup; invocation 0 has the results. */
const together = (invocations: number): string => `var<workgroup> sums: array<vec4f, ${invocations}>;
var<workgroup> least: array<vec2u, ${invocations}>;
fn gather(local: u32) {
  for (var half = ${invocations / 2}u; half > 0u; half >>= 1u) {
    workgroupBarrier();
    if (local < half) {
      sums[local] += sums[local + half];
      if (least[local + half].x < least[local].x) { least[local] = least[local + half]; }
    }
  }
}`

/**
 * Stage one: the sum of squares of each of `call.rest` parts, and its first element that is not finite. Such an
 * element is detected by its bits, because shaders may assume that there is no NaN or infinity.
 *
 * Squares of numbers from 2^48 on overflow in sums, those below 2^-63 vanish: such numbers are scaled by 2^-76 and 2^75
 * and summed separately (Blue 1978, A Portable Fortran Program to Find the Euclidean Norm of a Vector). `clipped` is
 * the sum of min(1, |g| / limit)^2; scalar 0 is the limit, or 0 for none.
 * @param weighted the norm is that of theta g
 * @param invocations the number of invocations of a workgroup
 */
export const partsCode = (weighted: boolean, invocations: number): string => `${callStruct(1)}
${partStruct}
@group(1) @binding(0) var<storage, read_write> parts: array<Part>;
${weighted ? '@group(1) @binding(1) var<storage, read> theta: array<f32>;' : ''}
@group(2) @binding(0) var<storage, read> gradient: array<u32>;
${together(invocations)}

${mainOf(invocations)}
  let part = ${workgroupIndex};
  if (part >= call.rest) { return; }
  let limit = call.scalars[0].x;
  ${partRange}
  var sum = vec4f();
  var fault = ${noFault};
  for (var i = start + local; i < end; i += ${invocations}u) {
    let bits = gradient[i];
    let magnitude = bits & 0x7fffffffu;
    if (magnitude >= 0x7f800000u) {
      fault = min(fault, i * 4u + select(1u + (bits >> 31u), 0u, magnitude > 0x7f800000u));
      continue;
    }
    let x = bitcast<f32>(magnitude)${weighted ? ' * abs(theta[i])' : ''};
    if (x > 0x1p48f) {
      let y = x * 0x1p-76f;
      sum.z += y * y;
    } else if (x < 0x1p-63f) {
      let y = x * 0x1p75f;
      sum.x += y * y;
    } else {
      sum.y += x * x;
    }
    if (limit > 0f) {
      let share = select(1f, x / limit, x < limit);
      sum.w += share * share;
    }
  }
  sums[local] = sum;
  least[local] = vec2u(fault, 0u);
  gather(local);
  if (local == 0u) { parts[call.offset + part] = Part(sums[0].x, sums[0].y, sums[0].z, sums[0].w, least[0].x); }
}
`

/**
 * Stage two, one workgroup: the norm of `call.count` parts and `state.scale`, which depends on it.
 *
 *     ascent   rho / (norm + 1e-12)                  scalar 0: rho
 *     update   min(1, clipNorm / (norm + 1e-6))      scalar 0: clipNorm, or 0 for none; scalar 1: clipValue, or 0 for none;
 *                                                    the norm is that after clipping by value
 *
 * An update without a fault makes refresh `call.rest` current, unless that is 0.
 */
export const concludeCode = (invocations: number): string => `${callStruct(2)}
${partStruct}
${stateStruct}
${selectionStruct}
@group(1) @binding(0) var<storage, read> parts: array<Part>;
@group(1) @binding(1) var<storage, read_write> state: State;
@group(1) @binding(2) var<storage, read> selection: Selection;
${together(invocations)}

fn norm(sum: vec4f) -> f32 {
  let middle = sqrt(sum.y) * 0x1p-76f;
  let small = sqrt(sum.x) * 0x1p-75f;
  if (sum.z > 0f) { return sqrt(sum.z + middle * middle) * 0x1p76f; }
  if (sum.y > 0f) { return sqrt(sum.y + small * small); }
  return small;
}

@compute @workgroup_size(${invocations})
fn main(@builtin(local_invocation_index) local: u32) {
  var sum = vec4f();
  var first = vec2u(${noFault});
  for (var i = local; i < call.count; i += ${invocations}u) {
    let part = parts[i];
    sum += vec4f(part.small, part.middle, part.large, part.clipped);
    if (part.fault != ${noFault} && i < first.x) { first = vec2u(i, part.fault); }
  }
  sums[local] = sum;
  least[local] = first;
  gather(local);
  if (local != 0u) { return; }
  sum = sums[0];
  first = least[0];
  state.small = sum.x;
  state.middle = sum.y;
  state.large = sum.z;
  if (state.fault == 0u && first.x != ${noFault}) {
    state.fault = call.stage;
    state.part = first.x;
    state.element = first.y;
  }
  let length = norm(sum);
  let aim = call.scalars[0].x;
  let limit = call.scalars[0].y;
  if (call.stage == ${stages.ascent}u) { state.scale = aim / (length + 1e-12f); }
  if (call.stage != ${stages.update}u) { return; }
  let bounded = select(length, limit * sqrt(sum.w), limit > 0f && length > limit);
  state.scale = select(1f, min(1f, aim / (bounded + 1e-6f)), aim > 0f);
  if (state.fault == 0u && call.rest != 0u) {
    state.refresh = call.rest;
    state.flat = selection.flat;
    state.zero = selection.zero;
    state.cut = selection.cut;
  }
}
`
