/** Rounds to the nearest integer, halves to even, as ONNX, IEEE 754 and Python do. */
export function roundHalfToEven(x: number): number {
  const floor = Math.floor(x)
  const fraction = x - floor
  return fraction === 0.5 ? floor + (Math.abs(floor) % 2) : fraction < 0.5 ? floor : floor + 1
}
