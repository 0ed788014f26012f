import { callStruct, invocationIndex, mainHead, mainOf, workgroupIndex, workgroupSize } from '../../optim/expr/wgsl.js'
import { partRange } from './gradient-norm-shaders.js'
import { selectionStruct, stateUniform } from './step-state.js'

/** Digits of a key, from the highest: 11, 11 and 10 bits. Their histograms fit a workgroup's memory. */
export const digitCount = 3

/** Bins of a histogram. */
const binCount = 2048

/** Largest number of elements that are counted without a histogram in workgroup memory. */
export const maxDirectlyCounted = 2048

/** Words of the histogram: after its bins, the number of elements that are 0. */
export const histogramWords = binCount + 1

/**
 * The key of a number: an integer that orders like its magnitude or, with `call.offset` = 1, like its value. -0 is 0.
 */
const key = `fn keyOf(bits: u32) -> u32 {
  let magnitude = bits & 0x7fffffffu;
  if (call.offset == 0u) { return magnitude; }
  return select(bits | 0x80000000u, ~bits, bits > 0x80000000u);
}`

const digit = `fn lowest(digit: u32) -> u32 { return select(select(0u, 10u, digit == 1u), 21u, digit == 0u); }
fn width(digit: u32) -> u32 { return select(11u, 10u, digit == 2u); }`

const counting = `${callStruct(0)}
${selectionStruct}
@group(1) @binding(0) var<storage, read_write> histogram: array<atomic<u32>, ${histogramWords}>;
@group(1) @binding(1) var<storage, read> selection: Selection;
@group(2) @binding(0) var<storage, read> values: array<u32>;
${key}
${digit}
// The bin of a number; none if its higher digits are not the prefix.
const NONE = ${binCount + 1}u;
fn binOf(bits: u32) -> u32 {
  let key = keyOf(bits) >> lowest(call.stage);
  let width = width(call.stage);
  if (call.stage != 0u && key >> width != selection.prefix) { return NONE; }
  return key & ((1u << width) - 1u);
}
fn isZero(bits: u32) -> bool { return call.stage == 0u && (bits & 0x7fffffffu) == 0u; }
`

/**
 * Counts digit `call.stage` of the keys whose higher digits equal the prefix, and at the first digit the zeros; each
 * part first in workgroup memory.
 * @param invocations the number of invocations of a workgroup
 */
export const countCode = (invocations: number): string => `${counting}
var<workgroup> bins: array<atomic<u32>, ${histogramWords}>;

${mainOf(invocations)}
  let part = ${workgroupIndex};
  if (part >= call.rest) { return; }
  ${partRange}
  for (var i = start + local; i < end; i += ${invocations}u) {
    let bits = values[i];
    let bin = binOf(bits);
    if (bin != NONE) { atomicAdd(&bins[bin], 1u); }
    if (isZero(bits)) { atomicAdd(&bins[${binCount}], 1u); }
  }
  workgroupBarrier();
  for (var bin = local; bin < ${histogramWords}u; bin += ${invocations}u) {
    let n = atomicLoad(&bins[bin]);
    if (n > 0u) { atomicAdd(&histogram[bin], n); }
  }
}
`

/**
 * `countCode` for up to `maxDirectlyCounted` elements, for which a histogram in workgroup memory costs more than it
 * saves.
 */
export const countFewCode = `${counting}
@compute @workgroup_size(${workgroupSize})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = group.x * ${workgroupSize}u + local;
  if (i >= call.count) { return; }
  let bits = values[i];
  let bin = binOf(bits);
  if (bin != NONE) { atomicAdd(&histogram[bin], 1u); }
  if (isZero(bits)) { atomicAdd(&histogram[${binCount}], 1u); }
}
`

/**
 * Appends to the prefix the digit of the key of rank `rank` (1 is the largest), and clears the histogram. Behind the
 * last digit, k - rank elements are larger than the cut, and all others are flat.
 * @param invocations the number of invocations of the workgroup
 */
export const selectCode = (invocations: number): string => `${callStruct(0)}
${selectionStruct}
@group(1) @binding(0) var<storage, read_write> histogram: array<u32, ${histogramWords}>;
@group(1) @binding(1) var<storage, read_write> selection: Selection;
var<workgroup> sums: array<u32, ${invocations}>;
${digit}

@compute @workgroup_size(${invocations})
fn main(@builtin(local_invocation_index) local: u32) {
  // From the highest bin down.
  let start = local * ${binCount / invocations}u;
  let end = start + ${binCount / invocations}u;
  var sum = 0u;
  for (var i = start; i < end; i++) { sum += histogram[${binCount - 1}u - i]; }
  sums[local] = sum;
  workgroupBarrier();
  if (local == 0u) {
    var left = selection.rank;
    var i = 0u;
    for (; i < ${invocations - 1}u && sums[i] < left; i++) { left -= sums[i]; }
    i *= ${binCount / invocations}u;
    for (; i < ${binCount - 1}u; i++) {
      let n = histogram[${binCount - 1}u - i];
      if (n >= left) { break; }
      left -= n;
    }
    let prefix = (selection.prefix << width(call.stage)) | (${binCount - 1}u - i);
    selection.prefix = prefix;
    selection.rank = left;
    if (call.stage == 0u) { selection.zero = histogram[${binCount}]; }
    if (call.stage == ${digitCount - 1}u) {
      selection.cut = prefix;
      selection.flat += left;
    }
    histogram[${binCount}] = 0u;
  }
  storageBarrier();
  for (var i = start; i < end; i++) { histogram[${binCount - 1}u - i] = 0u; }
}
`

/** Marks the elements that are at most the cut, one invocation per word of 32 elements. */
export const markCode = `${callStruct(0)}
${selectionStruct}
@group(1) @binding(0) var<storage, read_write> flat: array<u32>;
@group(1) @binding(1) var<storage, read> selection: Selection;
@group(2) @binding(0) var<storage, read> values: array<u32>;
${key}

${mainHead}
  let word = ${invocationIndex};
  let start = word * 32u;
  if (start >= call.count) { return; }
  let cut = selection.cut;
  var bits = 0u;
  for (var i = 0u; i < min(32u, call.count - start); i++) {
    if (keyOf(values[start + i]) <= cut) { bits |= 1u << i; }
  }
  flat[call.rest + word] = bits;
}
`

/** Makes the pending mask current, unless the step has a fault. */
export const commitCode = `${callStruct(0)}
${stateUniform}
@group(1) @binding(0) var<storage, read_write> flat: array<u32>;
@group(1) @binding(1) var<storage, read> pending: array<u32>;

${mainHead}
  let i = ${invocationIndex};
  if (i >= call.count || state.fault != 0u) { return; }
  flat[i] = pending[i];
}
`
