import { existsSync } from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { deserialize, serialize } from 'node:v8'
import { decodeModel } from 'onnx-ire'
import { create, edit } from '../../../dist/onnx/proto/message.js'
import type { GraphProto, ModelProto } from '../../../dist/onnx/proto/schema.js'

/** A valid model of one operator. */
export interface Sample {
  readonly operator: string
  readonly name: string
  readonly proto: ModelProto
  readonly bytes: Uint8Array
}

/** Most samples of one operator; the first of the forms differ most. */
const perOperator = 8

/**
 * Valid models of every operator, by operator, from the forms of tools/kernels.
 * @param shared a folder that keeps them for other processes: creating them takes seconds
 */
export async function readCorpus(shared: string): Promise<ReadonlyMap<string, readonly Sample[]>> {
  const path = join(shared, 'corpus')
  if (!existsSync(path)) {
    const temporary = `${path}-${process.pid}`
    await writeFile(temporary, serialize(await createCorpus()))
    await rename(temporary, path)
  }
  const corpus = deserialize(await readFile(path)) as Corpus
  return new Map(
    corpus.map(([operator, samples]) => [
      operator,
      samples.map(({ name, bytes }) => ({ operator, name, bytes, proto: decodeModel(bytes).proto })),
    ]),
  )
}

type Corpus = readonly (readonly [string, readonly Pick<Sample, 'name' | 'bytes'>[]])[]

async function createCorpus(): Promise<Corpus> {
  const [{ forms }, { toProbe }] = await Promise.all([
    import('../../kernels/forms.js'),
    import('../../kernels/form.js'),
  ])
  return [...forms()].map(([operator, own]) => [
    operator,
    own
      .filter(({ dtype }, i) => i === 0 || dtype !== 'float64')
      .slice(0, perOperator)
      .map((form) => ({ name: form.name, bytes: toProbe(form).bytes })),
  ])
}

/** A model with its graph changed. */
export const withGraph = (proto: ModelProto, change: (graph: GraphProto) => Partial<GraphProto>): ModelProto => {
  const graph = proto.graph ?? create('GraphProto', {})
  return edit(proto, { graph: edit(graph, change(graph)) })
}
