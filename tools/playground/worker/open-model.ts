import { encodeModel, inspectModel, type Model, type ModelPort, OnnxIreError, readUsage } from 'onnx-ire'
import { importGraph } from 'onnx-ire/graph'
import { readModel } from 'onnx-ire/web'
import type { Form, ModelSummary } from '../protocol.js'
import { deriveForm, describedForm, findOutput } from './form.js'

/** The model of the page. */
export interface OpenModel {
  readonly source: File | string
  readonly file: Model
  /** Number of classes of its last layer; null if it is not known. */
  readonly classes: number | null
  form: Form
}

/** Reads a model. Throws 'not-differentiable' if it cannot be trained. */
export async function openModel(
  source: File | string,
): Promise<{ readonly model: OpenModel; readonly summary: ModelSummary }> {
  const file = await readModel(source)
  const graph = importGraph(file)
  const usage = readUsage(file)
  const form = describedForm(deriveForm(graph), usage.image)
  const { layers, training, inputs, outputs } = inspectModel(file)
  if (training.blocked) throw new OnnxIreError('not-differentiable', training.blocked.message)
  const last = findOutput(graph).shape?.at(-1)
  const classes = typeof last === 'number' ? last : null
  const summary: ModelSummary = {
    name: nameOf(source),
    bytes: encodeModel(file).byteLength,
    inputs: inputs.map(portText),
    outputs: outputs.map(portText),
    layers: layers
      .filter(({ parameters }) => parameters > 0)
      .map(({ name, operators, shape, parameters, trainable }) => ({
        name,
        operators: operators.join(', '),
        shape: shape?.join(' x ') ?? '?',
        parameters,
        trainable: trainable > 0,
      })),
    parameters: layers.reduce((sum, layer) => sum + layer.parameters, 0),
    trainable: training.elements,
    classes,
    labels: usage.classes?.length === classes ? usage.classes! : null,
    task: usage.task ?? null,
    form,
  }
  return { model: { source, file, classes, form }, summary }
}

/** The file name of a model. */
export const nameOf = (source: File | string): string =>
  typeof source === 'string' ? source.split('/').at(-1)! : source.name

const portText = ({ name, type, shape }: ModelPort): string => `${name}: ${type} [${shape?.join(', ') ?? '?'}]`
