import { decodeModel, findScoreKind, type Snippet, type SnippetTarget, writeSnippet } from 'onnx-ire'
import type { ContenderName } from '../../protocol.js'
import { type TrainedRun, tunedName } from './trained-run.js'

/** Code that runs a tuned model without this library. */
export async function toSnippet(run: TrainedRun, contender: ContenderName, target: SnippetTarget): Promise<string> {
  return writeSnippet(target, await describe(run, contender))
}

async function describe(run: TrainedRun, contender: ContenderName): Promise<Snippet> {
  const { form, usage, input, output, example } = run
  const model = decodeModel(await run.tuned(contender))
  return {
    model: tunedName(contender),
    inputs: [
      form.kind === 'image'
        ? { kind: 'image', name: input, image: { ...usage.image, size: form.size }, dims: example.dims.slice(1) }
        : { kind: 'values', name: input, example },
    ],
    outputs: [output],
    classes: { scores: findScoreKind(model, output), names: usage.classes },
  }
}
