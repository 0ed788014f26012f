import type { Measured } from './job.js'

/** A job that was measured. */
export interface Setting {
  readonly launcher: string
  readonly link: string
  readonly size: number
  readonly measured: Measured
}

/** Bytes of the gradients, which a step sums over all processes. */
export const stepBytes = ({ parameters }: Measured): number => 4 * parameters

/** Seconds of AdamW's update on one core, 1.8 ns per parameter (tools/bench/update.ts: 0.9 on two). */
const updateSeconds = (parameters: number): number => 1.8e-9 * parameters

/** The assumptions of the projection. */
const assumed = {
  parameters: 229e6,
  adapterParameters: 9e6,
  /** Floating-point operations per second of one machine in training: see PERFORMANCE.md for those of a core. */
  flops: 1.2e12,
  tokensPerMachine: 16_384,
  updateNanoseconds: 0.3,
  latency: 50e-6,
}

/** Text: speed-up of a Llama of 229 million weights on many machines, from the costs of a ring of messages. */
export function describeProjection(alone: Measured, batchSize: number): string {
  const machines = [8, 16, 32, 64, 128, 256]
  const row = (name: string, sent: number, gigabits: number) => {
    const compute = (6 * assumed.parameters * assumed.tokensPerMachine) / assumed.flops
    const update = 1e-9 * assumed.updateNanoseconds * sent
    const cells = machines.map((n) => {
      const bytes = (2 * (n - 1) * 4 * sent) / n
      const sum = bytes / ((gigabits * 1e9) / 8) + 2 * (n - 1) * assumed.latency
      return `${((n * (compute + update)) / (compute + update + sum)).toFixed(1)}`
    })
    return `| ${name} | ${gigabits} | ${cells.join(' | ')} |`
  }
  const attained = (6 * alone.parameters * batchSize) / (alone.step - updateSeconds(alone.parameters)) / 1e9
  return `## Projection: a Llama of 229 million weights

Times one machine's tokens per second, where each machine computes the same number of tokens per step (weak scaling).

| trained | Gbit/s | ${machines.map((n) => `${n} machines`).join(' | ')} |
| --- | --- | ${machines.map(() => '---').join(' | ')} |
${row('all weights', assumed.parameters, 10)}
${row('all weights', assumed.parameters, 100)}
${row('LoRA', assumed.adapterParameters, 10)}
${row('LoRA', assumed.adapterParameters, 100)}

| assumption | |
| --- | --- |
| weights; of the adapter (rank 16, all linear layers) | ${(assumed.parameters / 1e6).toFixed(0)} million; ${(assumed.adapterParameters / 1e6).toFixed(0)} million |
| tokens of a machine in a step | ${assumed.tokensPerMachine.toLocaleString('en')} |
| operations of a token | 6 per weight; the backward pass of LoRA is counted as that of all weights |
| operations per second of a machine | ${(assumed.flops / 1e12).toFixed(1)} TFLOP/s: a server of 32 cores (one core here: ${attained.toFixed(0)} GFLOP/s in the steps above) |
| update | ${assumed.updateNanoseconds} ns per trained weight |
| sum over machines | a ring: 2 (n - 1) / n of the gradients' bytes at the link's full rate, and 2 (n - 1) messages of ${(assumed.latency * 1e6).toFixed(0)} us |
| overlap of sums and computation | none |`
}
