import { accuracy, adamw, type Model, margin, Trainer, type TrainerOptions } from 'onnx-ire'
import { adapterOf, applyAdapter, lora, mergeAdapter } from 'onnx-ire/adapter'
import {
  addReference,
  dpo,
  type LanguageModel,
  orpo,
  type PreferenceData,
  preferenceData,
  trainingModel,
} from 'onnx-ire/language'
import { type Chat, type Exchange, exchanges, ignored, type Split } from './task.js'

/** Renames the input of a model of models/ to that of language models. */
function withInputIds(model: Model): Model {
  const rename = (name: string) => (name === 'tokens' ? 'input_ids' : name)
  const graph = model.proto.graph!
  return {
    ...model,
    proto: {
      ...model.proto,
      graph: {
        ...graph,
        input: graph.input.map((info) => ({ ...info, name: rename(info.name ?? '') })),
        node: graph.node.map((node) => ({ ...node, input: node.input.map(rename) })),
      },
    },
  }
}

const row = ({ question, short, long }: Exchange) => ({
  prompt: [{ role: 'user', content: question }],
  chosen: [{ role: 'assistant', content: short }],
  rejected: [{ role: 'assistant', content: long }],
})

/** Pairs of a short answer, which is preferred, and a long one, padded to the context of the model. */
export function preferences(split: Split, chat: Chat, model: Model, context: number, batchSize: number) {
  const language = { ...chat, model, config: {} } as unknown as LanguageModel
  return padded(preferenceData(exchanges(split).map(row), language, { length: context, batchSize }), chat, context)
}

function padded(data: PreferenceData, { padToken }: Chat, context: number): PreferenceData {
  const load = (indices: readonly number[]) =>
    Object.fromEntries(
      Object.entries(data.load(indices)).map(([name, tensor]) => {
        const length = tensor.dims[2]
        if (length === undefined) return [name, tensor]
        const fill = name === 'labels' ? ignored : name === 'pair_input_ids' ? padToken : 0
        const values = new BigInt64Array(2 * indices.length * context).fill(BigInt(fill))
        for (let i = 0; i < values.length; i++)
          if (i % context < length)
            values[i] = (tensor.data as BigInt64Array)[Math.floor(i / context) * length + (i % context)]!
        return [name, { dtype: 'int64' as const, dims: [indices.length, 2, context], data: values }]
      }),
    )
  return {
    ...data,
    load,
    collate: (examples) => load(examples.map(({ pair }) => Number(pair))),
    withReference: (...given) => padded(data.withReference(...given), { padToken } as Chat, context),
  }
}

/** Settings of a training on preferences. */
export interface PreferenceRun {
  readonly method: 'dpo' | 'orpo'
  readonly lr: number
  readonly r: number
  readonly steps: number
  readonly batchSize: number
  readonly context: number
  readonly seed: number
}

/** Trains an adapter on preferences; returns the model with it merged, and measures of held-out pairs. */
export async function prefer(
  base: Model,
  chat: Chat,
  { method, lr, r, steps, batchSize, context, seed }: PreferenceRun,
  runtime: TrainerOptions['runtime'],
  onStep: (step: number) => void,
) {
  const model = withInputIds(base)
  const read = async (split: Split) => {
    const data = preferences(split, chat, model, context, batchSize)
    return method === 'dpo' ? addReference(data, model, { runtime, batchSize }) : data
  }
  const [train, test] = [await read('train'), await read('test')]
  const trainer = await Trainer.create(trainingModel(lora(model, { r, seed }), { pairs: true }), {
    loss: method === 'dpo' ? dpo() : orpo(),
    optimizer: adamw({ lr, weightDecay: 0 }),
    schedule: { kind: 'cosine', warmup: Math.round(steps / 10) },
    clipNorm: 1,
    metrics: [accuracy(), margin()],
    batchSize,
    seed,
    runtime,
  })
  try {
    await trainer.train(train, { totalSteps: steps, onStep: ({ step }) => onStep(step) })
    const { accuracy: wins, margin: score } = await trainer.evaluate(test)
    const tuned = mergeAdapter(applyAdapter(base, adapterOf(trainer.export())))
    return { wins: wins as number, score: score as number, tuned }
  } finally {
    await trainer.dispose()
  }
}
