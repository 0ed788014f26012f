import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Random } from 'onnx-ire/data'
import { modelOf } from 'onnx-ire/graph'
import { build } from 'onnx-ire/models'
import { writeModel } from 'onnx-ire/node'
import { compareDigests, digestFolder, type Finished, run } from './commands.js'

/** A command that may be interrupted at any moment and then repeated. */
export interface Scenario {
  readonly name: string
  /** The output of the command, in the folder of the case: a folder, or a file. */
  readonly output: string
  /** Arguments of the command, in the folder of the case. */
  args(folder: string, output: string): readonly string[]
  /** Arguments that continue the command after it was interrupted; default: the same. */
  again?(folder: string, output: string): readonly string[]
}

const features = 12

/** Fields of all recipes of the scenarios. */
const common = {
  model: 'model.onnx',
  data: {
    train: { kind: 'csv', file: 'data.csv', end: 150, tensors: { x: 'f*', labels: { columns: 'kind', as: 'class' } } },
    validation: {
      kind: 'csv',
      file: 'data.csv',
      start: 150,
      tensors: { x: 'f*', labels: { columns: 'kind', as: 'class' } },
    },
  },
  loss: { kind: 'cross-entropy' },
  batchSize: 16,
  steps: 150,
  evaluateEvery: 35,
  threads: 1,
  seed: 7,
}

/** Recipes that use between them all parts of a checkpoint. */
const recipes: Readonly<Record<string, object>> = {
  adamw: {
    ...common,
    optimizer: { kind: 'adamw', lr: 0.01, ire: { kappa: 2, gamma: 0.8, interval: 5 } },
    schedule: { kind: 'cosine', warmup: 4 },
    ema: 0.9,
    best: true,
    checkpoints: { everySteps: 3 },
  },
  sgd: {
    ...common,
    optimizer: { kind: 'sgd', lr: 0.05, momentum: 0.9, sam: { rho: 0.05 }, ire: { kappa: 2, gamma: 0.8, interval: 7 } },
    schedule: { kind: 'plateau', patience: 2, factor: 0.7 },
    mixup: { alpha: 0.4 },
    microBatch: 5,
    earlyStopping: { patience: 1000 },
    checkpoints: { everySteps: 2, keep: 2 },
  },
}

const trainScenario = (name: string): Scenario => ({
  name: `train ${name}`,
  output: `run-${name}`,
  args: (folder, output) => ['train', join(folder, `${name}.json`), '--out', output, '--json'],
  again: (folder, output) => ['train', join(folder, `${name}.json`), '--out', output, '--json', '--resume'],
})

export const scenarios: readonly Scenario[] = [
  ...Object.keys(recipes).map(trainScenario),
  {
    name: 'export',
    output: 'exported.onnx',
    args: (folder, output) => ['export', join(folder, 'finished'), '-o', output, '--json'],
  },
  {
    name: 'data prepare text',
    output: 'prepared-text',
    args: (folder, output) => [
      ...[
        'data',
        'prepare',
        'text',
        join(folder, 'corpus.txt'),
        '-o',
        output,
        '--vocabulary',
        '400',
        '--document',
        'paragraph',
        '--json',
      ],
    ],
  },
  {
    name: 'data prepare cifar',
    output: 'prepared-cifar',
    args: (folder, output) => ['data', 'prepare', 'cifar', join(folder, 'cifar'), '-o', output, '--json'],
  },
  {
    name: 'gradient',
    output: 'gradient.onnx',
    args: (folder, output) => ['gradient', join(folder, 'model.onnx'), '-o', output, '--json'],
  },
]

/** The undisturbed result of a scenario. */
export interface Reference {
  readonly digests: Readonly<Record<string, string>>
  readonly seconds: number
}

/** Writes the inputs of all scenarios into a folder. */
export async function writeInputs(folder: string): Promise<void> {
  const random = new Random(11)
  const model = modelOf(build({ kind: 'mlp', features, hidden: [64, 64], classes: 3 }))
  await writeModel(join(folder, 'model.onnx'), model)
  const names = Array.from({ length: features }, (_, i) => `f${i}`)
  const rows = Array.from({ length: 190 }, () => [
    ...names.map(() => random.normal().toFixed(4)),
    'abc'[random.integer(3)],
  ])
  await writeFile(join(folder, 'data.csv'), [[...names, 'kind'], ...rows].map((row) => row.join(',')).join('\n'))
  for (const [name, recipe] of Object.entries(recipes))
    await writeFile(join(folder, `${name}.json`), JSON.stringify(recipe))
  const words = Array.from({ length: 500 }, () => random.integer(2 ** 24).toString(36))
  const text = Array.from({ length: 30_000 }, (_, i) => words[random.integer(500)]! + (i % 60 === 59 ? '\n\n' : ' '))
  await writeFile(join(folder, 'corpus.txt'), text.join(''))
  await mkdir(join(folder, 'cifar'))
  const images = () =>
    Uint8Array.from({ length: 30 * 3073 }, (_, i) => (i % 3073 === 0 ? random.integer(10) : random.integer(256)))
  for (const name of ['data_batch_1', 'data_batch_2', 'data_batch_3', 'data_batch_4', 'data_batch_5', 'test_batch'])
    await writeFile(join(folder, 'cifar', `${name}.bin`), images())
  expectDone(
    await run(['train', join(folder, 'adamw.json'), '--out', join(folder, 'finished'), '--quiet']),
    'the first run',
  )
}

/**
 * Runs a scenario undisturbed.
 * @param folder the parent folder of the inputs and of all outputs, so that relative paths in recipes are equal
 */
async function createReference(folder: string, inputs: string, scenario: Scenario): Promise<Reference> {
  const outputs = await mkdtemp(join(folder, 'reference-'))
  const begun = performance.now()
  expectDone(await run(scenario.args(inputs, join(outputs, scenario.output))), scenario.name)
  return { digests: await digestFolder(outputs), seconds: (performance.now() - begun) / 1000 }
}

function expectDone({ code, stderr }: Finished, what: string): void {
  if (code !== 0) throw new Error(`${what} ended with ${code}: ${stderr}`)
}

/**
 * Continues an interrupted scenario to its end.
 * @returns the last run of the command
 */
export async function finish(folder: string, output: string, scenario: Scenario, shell?: string): Promise<Finished> {
  const fromStart = () => run(scenario.args(folder, output), shell)
  if (!scenario.again) return fromStart()
  const resumed = await run(scenario.again(folder, output), shell)
  // A run that was interrupted before it began is started, not resumed.
  return resumed.code === 1 && /is not a run folder/.test(resumed.stderr) ? fromStart() : resumed
}

/** The differences of an output from the undisturbed one, as causes of faults with their details. */
export async function differences(
  outputs: string,
  { digests }: Reference,
): Promise<readonly (readonly [string, string])[]> {
  const { more, less, other } = compareDigests(await digestFolder(outputs), digests)
  const [temporary, unknown] = [more.filter((path) => /tmp/.test(path)), more.filter((path) => !/tmp/.test(path))]
  const found = {
    'temporary files are left': temporary,
    'files are left': unknown,
    'files are missing': less,
    'files differ': other,
  }
  return Object.entries(found).flatMap(([what, paths]) => (paths.length > 0 ? [[what, paths.join(', ')] as const] : []))
}

/** Returns a function that creates the reference of each scenario once. */
export function cacheReferences(folder: string, inputs: string): (scenario: Scenario) => Promise<Reference> {
  const references = new Map<Scenario, Promise<Reference>>()
  return (scenario) => {
    const found = references.get(scenario) ?? createReference(folder, inputs, scenario)
    references.set(scenario, found)
    return found
  }
}
