import { callStruct, GROUP, INVOCATION, MAIN, WORKGROUP } from '../../optim/expr/wgsl.js'
import { PART_RANGE } from './gradient-norm-shaders.js'
import { STATE_UNIFORM } from './step-state.js'

/** Digits of a key, from the highest: 11, 11 and 10 bits. Their histograms fit a workgroup's memory. */
export const DIGITS = 3

/** Bins of a histogram. */
export const BINS = 2048

/** Largest number of elements that are counted without a histogram in workgroup memory. */
export const FEW = 2048

/** Bytes of `Selection`. */
export const SELECTION_BYTES = 20

const selection = (element: 'u32' | 'atomic<u32>') => `struct Selection {
  prefix: u32,
  rank: u32,
  cut: u32,
  flat: ${element},
  zero: ${element},
}`

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
${selection('u32')}
@group(1) @binding(0) var<storage, read_write> histogram: array<atomic<u32>, ${BINS}>;
@group(1) @binding(1) var<storage, read> selection: Selection;
@group(2) @binding(0) var<storage, read> values: array<u32>;
${key}
${digit}
// The bin of a number; ${BINS} where its higher digits are not the prefix.
fn binOf(bits: u32) -> u32 {
  let key = keyOf(bits) >> lowest(call.stage);
  let width = width(call.stage);
  if (call.stage != 0u && key >> width != selection.prefix) { return ${BINS}u; }
  return key & ((1u << width) - 1u);
}
`

/** Counts digit `call.stage` of the keys whose higher digits equal the prefix; each part first in workgroup memory. */
export const countCode = `${counting}
var<workgroup> bins: array<atomic<u32>, ${BINS}>;

${MAIN}
  let part = ${GROUP};
  if (part >= call.rest) { return; }
  ${PART_RANGE}
  for (var i = start + local; i < end; i += ${WORKGROUP}u) {
    let bin = binOf(values[i]);
    if (bin < ${BINS}u) { atomicAdd(&bins[bin], 1u); }
  }
  workgroupBarrier();
  for (var bin = local; bin < ${BINS}u; bin += ${WORKGROUP}u) {
    let n = atomicLoad(&bins[bin]);
    if (n > 0u) { atomicAdd(&histogram[bin], n); }
  }
}
`

/** `countCode` for up to `FEW` elements, for which a histogram in workgroup memory costs more than it saves. */
export const countFewCode = `${counting}
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let i = group.x * ${WORKGROUP}u + local;
  if (i >= call.count) { return; }
  let bin = binOf(values[i]);
  if (bin < ${BINS}u) { atomicAdd(&histogram[bin], 1u); }
}
`

/** Appends to the prefix the digit of the key of rank `rank` (1 is the largest), and clears the histogram. */
export const selectCode = `${callStruct(0)}
${selection('u32')}
@group(1) @binding(0) var<storage, read_write> histogram: array<u32, ${BINS}>;
@group(1) @binding(1) var<storage, read_write> selection: Selection;
var<workgroup> bins: array<u32, ${BINS}>;
var<workgroup> sums: array<u32, ${WORKGROUP}>;
${digit}

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(local_invocation_index) local: u32) {
  // From the highest bin down.
  let start = local * ${BINS / WORKGROUP}u;
  var sum = 0u;
  for (var i = start; i < start + ${BINS / WORKGROUP}u; i++) {
    let n = histogram[${BINS - 1}u - i];
    histogram[${BINS - 1}u - i] = 0u;
    bins[i] = n;
    sum += n;
  }
  sums[local] = sum;
  workgroupBarrier();
  if (local != 0u) { return; }
  var left = selection.rank;
  var i = 0u;
  for (; i < ${WORKGROUP - 1}u && sums[i] < left; i++) { left -= sums[i]; }
  i *= ${BINS / WORKGROUP}u;
  for (; i < ${BINS - 1}u && bins[i] < left; i++) { left -= bins[i]; }
  let prefix = (selection.prefix << width(call.stage)) | (${BINS - 1}u - i);
  selection.prefix = prefix;
  selection.rank = left;
  if (call.stage == ${DIGITS - 1}u) { selection.cut = prefix; }
}
`

/** Marks and counts the elements that are at most the cut, one invocation per word of 32 elements. */
export const markCode = `${callStruct(0)}
${selection('atomic<u32>')}
@group(1) @binding(0) var<storage, read_write> flat: array<u32>;
@group(1) @binding(1) var<storage, read_write> selection: Selection;
@group(2) @binding(0) var<storage, read> values: array<u32>;
var<workgroup> flats: atomic<u32>;
var<workgroup> zeros: atomic<u32>;
${key}

${MAIN}
  let word = ${INVOCATION};
  let start = word * 32u;
  let cut = selection.cut;
  if (start < call.count) {
    var bits = 0u;
    var zero = 0u;
    for (var i = 0u; i < min(32u, call.count - start); i++) {
      let value = values[start + i];
      if (keyOf(value) <= cut) { bits |= 1u << i; }
      if ((value & 0x7fffffffu) == 0u) { zero++; }
    }
    flat[call.rest + word] = bits;
    atomicAdd(&flats, countOneBits(bits));
    atomicAdd(&zeros, zero);
  }
  workgroupBarrier();
  if (local == 0u) {
    atomicAdd(&selection.flat, atomicLoad(&flats));
    atomicAdd(&selection.zero, atomicLoad(&zeros));
  }
}
`

/** Makes the pending mask current, unless the step has a fault. */
export const commitCode = `${callStruct(0)}
${STATE_UNIFORM}
@group(1) @binding(0) var<storage, read_write> flat: array<u32>;
@group(1) @binding(1) var<storage, read> pending: array<u32>;

${MAIN}
  let i = ${INVOCATION};
  if (i >= call.count || state.fault != 0u) { return; }
  flat[i] = pending[i];
}
`
