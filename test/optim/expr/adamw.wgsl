alias T = vec4f;
struct Call {
  count: u32,
  offset: u32,
  stage: u32,
  rest: u32,
  scalars: array<vec4f, 2>,
}
@group(0) @binding(0) var<uniform> call: Call;

@group(1) @binding(0) var<storage, read_write> a0: array<T>;
@group(1) @binding(1) var<storage, read> a1: array<u32>;
@group(1) @binding(2) var<storage, read_write> a2: array<T>;
@group(1) @binding(3) var<storage, read_write> a3: array<T>;
@group(2) @binding(0) var<storage, read> b0: array<T>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = (group.y * groups.x + group.x) * 256u + local;
  if (i >= call.count) { return; }
  let x0 = a0[i];
  let x1 = vec4f((vec4u(a1[call.offset + (i >> 3u)] >> ((i & 7u) * 4u)) >> vec4u(0u, 1u, 2u, 3u)) & vec4u(1u));
  let x2 = T(call.scalars[0].x);
  let t0 = x1 * x2;
  let t1 = t0 + T(1f);
  let x3 = a2[i];
  let x4 = b0[i];
  let x5 = T(call.scalars[0].y);
  let t2 = min(x4, x5);
  let t3 = T(0f) - x5;
  let t4 = max(t2, t3);
  let x6 = T(call.scalars[0].z);
  let t5 = t4 * x6;
  let t6 = t5 - x3;
  let x7 = T(call.scalars[0].w);
  let t7 = t6 * x7;
  let t8 = x3 + t7;
  let x8 = T(call.scalars[1].x);
  let t9 = t8 * x8;
  let x9 = a3[i];
  let x10 = T(call.scalars[1].y);
  let t10 = x9 * x10;
  let t11 = x9 - t10;
  let t12 = t5 * x10;
  let t13 = t12 * t5;
  let t14 = t11 + t13;
  let t15 = sqrt(t14);
  let x11 = T(call.scalars[1].z);
  let t16 = t15 + x11;
  let t17 = t9 / t16;
  let x12 = T(call.scalars[1].w);
  let t18 = x0 * x12;
  let t19 = t17 - t18;
  let t20 = t1 * t19;
  let t21 = x0 + t20;
  a0[i] = t21;
  a2[i] = t8;
  a3[i] = t14;
}
