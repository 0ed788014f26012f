import type { Measured } from './job.js'
import type { Launcher } from './launch.js'

/** A link of each host to all others. */
export interface Link {
  /** Mbit/s in each direction; null is as fast as this machine. */
  readonly rate: number | null
  /** Seconds that a message and its answer take, besides the time in this machine. */
  readonly roundTrip: number
}

/** A job that was measured. */
export interface Setting {
  readonly launcher: Launcher
  readonly link: Link
  readonly size: number
  readonly measured: Measured
}

/** Bytes of the gradients, which a step sums over all processes. */
export const stepBytes = ({ parameters }: Measured): number => 4 * parameters

/** Predicted seconds of a step: the sums of the gradients do not overlap with anything. */
export const predictStep = ({ partialStep, sums }: Measured): number => partialStep + sums

/**
 * Seconds of sums in a ring of n processes, each of which sends 2 (n - 1) / n of the bytes at the full rate of its link, in 2
 * (n - 1) turns.
 * @param latency seconds of a message in one direction
 * @param calls number of sums, one after the other
 */
export function ringSeconds(n: number, bytes: number, bitsPerSecond: number, latency: number, calls: number): number {
  return (2 * (n - 1) * bytes) / n / (bitsPerSecond / 8) + 2 * (n - 1) * latency * calls
}

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
  /** 16 blocks of 7 matrices, the embedding and the head, each in a call of its own; adapters in buckets of 4 MB. */
  calls: 114,
  adapterCalls: 9,
}

/** Text: speed-up of a Llama of 229 million weights on many machines, from the costs of a ring of messages. */
export function describeProjection(alone: Measured, batchSize: number): string {
  const machines = [8, 16, 32, 64, 128, 256]
  const row = (name: string, sent: number, calls: number, gigabits: number) => {
    const compute = (6 * assumed.parameters * assumed.tokensPerMachine) / assumed.flops
    const update = 1e-9 * assumed.updateNanoseconds * sent
    const cells = machines.map((n) => {
      const sum = ringSeconds(n, 4 * sent, gigabits * 1e9, assumed.latency, calls)
      return `${((n * (compute + update)) / (compute + update + sum)).toFixed(1)}`
    })
    return `| ${name} | ${gigabits} | ${cells.join(' | ')} |`
  }
  const attained = (6 * alone.parameters * batchSize) / (alone.step - updateSeconds(alone.parameters)) / 1e9
  return `## Projection: a Llama of 229 million weights

Times one machine's tokens per second, where each machine computes the same number of tokens per step (weak scaling).

| trained | Gbit/s | ${machines.map((n) => `${n} machines`).join(' | ')} |
| --- | --- | ${machines.map(() => '---').join(' | ')} |
${row('all weights', assumed.parameters, assumed.calls, 10)}
${row('all weights', assumed.parameters, assumed.calls, 100)}
${row('LoRA', assumed.adapterParameters, assumed.adapterCalls, 10)}
${row('LoRA', assumed.adapterParameters, assumed.adapterCalls, 100)}

| assumption | |
| --- | --- |
| weights; of the adapter (rank 16, all linear layers) | ${(assumed.parameters / 1e6).toFixed(0)} million; ${(assumed.adapterParameters / 1e6).toFixed(0)} million |
| tokens of a machine in a step | ${assumed.tokensPerMachine.toLocaleString('en')} |
| operations of a token | 6 per weight; the backward pass of LoRA is counted as that of all weights |
| operations per second of a machine | ${(assumed.flops / 1e12).toFixed(1)} TFLOP/s: a server of 32 cores (one core here: ${attained.toFixed(0)} GFLOP/s in the steps above) |
| update | ${assumed.updateNanoseconds} ns per trained weight |
| sum over machines | a ring: 2 (n - 1) / n of the gradients' bytes at the link's full rate, and for each call of MPI 2 (n - 1) messages of ${(assumed.latency * 1e6).toFixed(0)} us |
| calls of MPI in a step | one for each matrix, ${assumed.calls}; ${assumed.adapterCalls} for the adapter, whose matrices travel together |
| overlap of sums and computation | none |`
}
