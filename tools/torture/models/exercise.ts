import { Writable } from 'node:stream'
import {
  decodeModel,
  encodeModel,
  gradientModel,
  inspectModel,
  type Model,
  namedTensors,
  replaceTensors,
} from 'onnx-ire'
import { importGraph, printGraph } from 'onnx-ire/graph'
import { formatInspection } from '../../../dist/cli/commands/inspect.js'
import { print, processIo } from '../../../dist/cli/io.js'
import type { Outcome } from '../campaign.js'
import { clip, Verdict } from '../judge.js'

/** Sends a model through everything that reads files: each stage succeeds or throws a typed error. */
export function exercise(bytes: Uint8Array, enter: (stage: string) => void): Outcome {
  const verdict = new Verdict(enter)
  const model = verdict.stage('decode', () => decodeModel(bytes))
  if (!model) return verdict.outcome()
  const encoded = verdict.stage('encode', () => encodeModel(model))
  if (encoded)
    verdict.expect(
      Buffer.compare(encoded, bytes) === 0,
      'an unchanged model is encoded with other bytes',
      () => `${bytes.length} bytes became ${encoded.length}`,
    )
  verdict.stage('read tensors', () => readTensors(model, verdict))
  const inspection = verdict.stage('inspect', () => inspectModel(model))
  if (inspection) {
    const text = verdict.stage('print the inspection', () =>
      printed(inspection, () => formatInspection('model.onnx', bytes.length, inspection, { all: true, tensors: true })),
    )
    if (text !== undefined) expectNoControls(verdict, text)
    verdict.stage('inspection as JSON', () => JSON.stringify(inspection))
  }
  const graph = verdict.stage('import', () => importGraph(model))
  if (graph) verdict.stage('print', () => printGraph(graph))
  const gradient = verdict.stage('gradient', () => gradientModel(bytes))
  if (gradient) verdict.stage('read the gradient model', () => importGraph(decodeModel(gradient)))
  return verdict.outcome()
}

/** Reads every tensor and replaces it by itself. */
function readTensors(model: Model, verdict: Verdict): void {
  const tensors = namedTensors(model)
  for (const [name, tensor] of tensors)
    verdict.stage('read a tensor', () => {
      const { dims, data } = tensor
      const size = dims.reduce((product, dim) => product * dim, 1)
      if (size > 2 ** 20 || data.length === 0) return
      encodeModel(replaceTensors(model, new Map([[name, tensor]])))
    })
}

/** The text that a command prints for a result. */
function printed(result: object, format: () => string): string {
  let text = ''
  const stdout = new Writable({
    write(chunk: Buffer, _, done) {
      text += chunk
      done()
    },
  })
  print({ ...processIo, stdout }, result, undefined, format)
  return text
}

/** Text for a terminal has no control characters but line ends. */
function expectNoControls(verdict: Verdict, text: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  const found = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/.exec(text)
  verdict.expect(found === null, 'a control character reaches the terminal', () =>
    clip(text.slice(Math.max(0, found!.index - 40), found!.index + 40)),
  )
}
