import { strToU8, unzip, Zip, ZipDeflate, ZipPassThrough } from 'fflate'
import { encodeModel, OnnxIreError } from 'onnx-ire'
import {
  type ContenderName,
  contenders,
  type DataChoice,
  type Form,
  normalizations,
  type ProgressEvent,
  type Settings,
} from '../../protocol.js'
import { readForm } from '../form.js'
import { fromPng, toDataFiles, toFolderNames, toIdxNames } from './data-files.js'
import { toProgram, toRecipe } from './recipe.js'
import { toSnippet } from './snippet.js'
import { type TrainedRun, tunedName } from './trained-run.js'

/** A project file that was read. */
export interface Project {
  readonly model: File
  readonly form: Pick<Form, 'size' | 'normalization'>
  readonly choice: DataChoice
  readonly settings: Settings
  readonly history: readonly ProgressEvent[]
  readonly tuned: ReadonlyMap<ContenderName, Uint8Array>
}

/** Description of a run in `project.json`; its files are beside it. */
interface Description {
  readonly format: typeof format
  readonly version: 1
  readonly model: string
  readonly form: Pick<Form, 'size' | 'normalization'>
  readonly settings: Settings
  readonly history: readonly ProgressEvent[]
  readonly data:
    | { readonly kind: 'folder' }
    | { readonly kind: 'shown'; readonly classes: readonly string[] }
    | { readonly kind: 'csv'; readonly file: string; readonly label: string; readonly columns?: readonly string[] }
    | { readonly kind: 'idx'; readonly images: string; readonly labels: string }
}

const format = 'onnx-ire-playground'
const names = Object.keys(contenders) as ContenderName[]

/** Largest size of the files in a project, in bytes. */
const limit = 2 ** 31

/**
 * Writes a run with its data, models, recipes and programs to a ZIP file, which `readProject` reads and which trains
 * the same models in Node.
 */
export async function writeProject(run: TrainedRun): Promise<Blob> {
  const { source, files } = await toDataFiles(run)
  const { choice, summary, form, settings, history } = run
  const data: Description['data'] =
    choice.kind === 'csv'
      ? { ...choice, file: choice.file.name }
      : choice.kind === 'idx'
        ? { kind: 'idx', ...toIdxNames(choice) }
        : choice.kind === 'shown'
          ? { kind: 'shown', classes: summary.classes }
          : { kind: 'folder' }
  const { size, normalization } = form
  const description: Description = {
    format,
    version: 1,
    model: run.name,
    form: { size, normalization },
    settings,
    history,
    data,
  }
  const content = new Map<string, string | Uint8Array | Blob>([
    ['project.json', toJson(description)],
    ['README.md', guide],
    ['model.onnx', encodeModel(run.original)],
  ])
  for (const name of names) {
    const recipe = toRecipe(run, name, source)
    content.set(tunedName(name), await run.tuned(name))
    content.set(`recipe-${name}.json`, toJson(recipe))
    content.set(`train-${name}.mts`, toProgram(run, name, recipe))
  }
  content.set('predict.mjs', await toSnippet(run, 'ire', 'node'))
  content.set('predict.py', await toSnippet(run, 'ire', 'python'))
  for (const [path, file] of files) content.set(path, file)
  return zip(content)
}

/** Reads a project file. @throws 'invalid-data' */
export async function readProject(file: File): Promise<Project> {
  const refuse = (reason: string, cause?: unknown): OnnxIreError =>
    new OnnxIreError('invalid-data', `${file.name} is not a project of this page: ${reason}`, { cause })
  const files = await unzipFiles(file).catch((error) => {
    throw refuse((error as Error).message, error)
  })
  const take = (path: string): Uint8Array<ArrayBuffer> => {
    const bytes = files.get(path)
    if (!bytes) throw refuse(`it has no ${path}`)
    return bytes
  }
  const text = new TextDecoder().decode(take('project.json'))
  let description: Description
  try {
    description = JSON.parse(text)
  } catch (cause) {
    throw refuse('project.json is not JSON', cause)
  }
  const problem = findProblem(description)
  if (problem) throw refuse(`project.json: ${problem}`)
  const { form, settings, history, model } = description
  return {
    model: new File([take('model.onnx')], model),
    form: readForm(form),
    settings,
    history,
    tuned: new Map(names.map((name) => [name, take(tunedName(name))])),
    choice: await readChoice(description.data, files, take),
  }
}

async function readChoice(
  data: Description['data'],
  files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>,
  take: (path: string) => Uint8Array<ArrayBuffer>,
): Promise<DataChoice> {
  const { kind } = data
  const open = (name: string) => new File([take(`data/${name}`)], name)
  if (kind === 'csv') {
    const { file, label, columns } = data
    return { kind, file: open(file), label, ...(columns ? { columns } : {}) }
  }
  if (kind === 'idx') return { kind, images: open(data.images), labels: open(data.labels) }
  // Names that begin with a dot belong to the operating system, on which the project was unpacked and packed again.
  const isData = (path: string) => path.startsWith('data/') && !path.endsWith('/') && !path.includes('/.')
  const paths = [...files.keys()].filter(isData)
  const inFolder = (path: string) => path.slice('data/'.length)
  if (kind === 'folder')
    return { kind, files: paths.map((path) => ({ path: inFolder(path), file: open(inFolder(path)) })) }
  const { classes } = data
  const folders = toFolderNames(classes)
  // The names of the files are the numbers of the examples.
  const number = (path: string) => Number.parseInt(path.split('/').at(-1)!, 10)
  const examples = paths
    .sort((a, b) => number(a) - number(b))
    .map((path) => {
      const label = classes[folders.indexOf(path.split('/')[1]!)]
      if (label === undefined)
        throw new OnnxIreError('invalid-data', `${path} of the project is in the folder of no class`)
      return fromPng(open(inFolder(path)), label, path)
    })
  return { kind, classes, examples: await Promise.all(examples) }
}

/** Finds the first reason why a value is not a description that this page writes. */
function findProblem(value: unknown): string | null {
  const fields = (each: unknown): Readonly<Record<string, unknown>> =>
    typeof each === 'object' && each !== null ? (each as Record<string, unknown>) : {}
  const { format: own, version, model, form, settings, history, data } = fields(value)
  if (own !== format) return `format must be '${format}'`
  if (version !== 1) return `version is ${version}, and this page reads version 1`
  if (typeof model !== 'string') return 'model must be a file name'
  const { size, normalization } = readForm(fields(form))
  if (typeof size !== 'number' || !Object.hasOwn(normalizations, String(normalization)))
    return 'form must have a size and a normalization'
  const numbers = ['epochs', 'batchSize', 'lr', 'weightDecay', 'seed', 'held', 'kappa', 'gamma', 'interval']
  const odd = numbers.find((name) => !Number.isFinite(fields(settings)[name]))
  if (odd) return `settings.${odd} must be a number`
  const isProgress = (event: unknown) => {
    const { kind, contender, step, loss } = fields(event)
    const isOf = (kind === 'step' || kind === 'round') && Object.hasOwn(contenders, String(contender))
    return isOf && [step, loss].every((each) => typeof each === 'number')
  }
  if (!Array.isArray(history) || !history.every(isProgress)) return 'history must be a list of steps and evaluations'
  const { kind, file, label, columns = [], images, labels, classes } = fields(data)
  const isText = (...each: unknown[]) => each.every((one) => typeof one === 'string')
  const isComplete =
    kind === 'folder' ||
    (kind === 'csv' && isText(file, label) && Array.isArray(columns) && isText(...columns)) ||
    (kind === 'idx' && isText(images, labels)) ||
    (kind === 'shown' && Array.isArray(classes) && isText(...classes))
  return isComplete ? null : 'data must describe a folder, a table, MNIST files or examples that were shown'
}

function zip(content: ReadonlyMap<string, string | Uint8Array | Blob>): Promise<Blob> {
  return new Promise((resolve, reject) => {
    const parts: BlobPart[] = []
    const archive = new Zip((error, part, isLast) => {
      if (error) return reject(error)
      parts.push(part as Uint8Array<ArrayBuffer>)
      if (isLast) resolve(new Blob(parts, { type: 'application/zip' }))
    })
    const add = async () => {
      for (const [path, each] of content) {
        // Pictures are compressed already.
        const file = /\.(png|jpe?g|webp|gif|avif)$/i.test(path) ? new ZipPassThrough(path) : new ZipDeflate(path)
        archive.add(file)
        const bytes =
          typeof each === 'string'
            ? strToU8(each)
            : each instanceof Blob
              ? new Uint8Array(await each.arrayBuffer())
              : each
        file.push(bytes, true)
      }
      archive.end()
    }
    add().catch(reject)
  })
}

async function unzipFiles(file: File): Promise<ReadonlyMap<string, Uint8Array<ArrayBuffer>>> {
  const bytes = new Uint8Array(await file.arrayBuffer())
  let total = 0
  return new Promise((resolve, reject) => {
    const filter = ({ originalSize }: { readonly originalSize: number }) => {
      total += originalSize
      return total <= limit
    }
    unzip(bytes, { filter }, (error, files) => {
      if (error) reject(new Error('it is no ZIP file, or it is cut off', { cause: error }))
      else if (total > limit) reject(new Error('its files are larger than 2 GB'))
      else resolve(new Map(Object.entries(files as Record<string, Uint8Array<ArrayBuffer>>)))
    })
  })
}

const toJson = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`

const guide = `# A project of the onnx-ire playground

Open this ZIP file in the playground, or unpack it:

- tuned.onnx, tuned-ire.onnx: the models that AdamW and AdamW + IRE have trained; their metadata hold the class names
- predict.mjs, predict.py: code that runs tuned-ire.onnx with onnxruntime in Node and in Python
- recipe-base.json, recipe-ire.json: the training runs, for \`npx onnx-ire train recipe-ire.json\`
- train-base.mts, train-ire.mts: the same as programs
- model.onnx and data: what they start from

In this folder, the recipes and programs need \`npm install onnx-ire onnxruntime-node sharp\`.
`
