import type { DataSource, Recipe } from 'onnx-ire/recipe'
import type { ContenderName } from '../../protocol.js'
import { contenders } from '../../protocol.js'
import { toWarmups } from '../warmups.js'
import { type TrainedRun, tunedName } from './trained-run.js'

/** The training of one contender as a recipe of `onnx-ire train`. */
export function toRecipe(run: TrainedRun, contender: ContenderName, source: DataSource): Recipe {
  const { settings, newHead, trained, name } = run
  const { lr, weightDecay, kappa, gamma, interval, batchSize, seed, epochs, layers, held } = settings
  const warmups = toWarmups(settings, trained)
  const ire = { kappa, gamma, interval, warmup: warmups.ire }
  return {
    about: `${contenders[contender]} from ${name}, as in the playground`,
    model: 'model.onnx',
    output: `runs/${contender}`,
    data: { train: source, split: { validation: held, seed } },
    loss: { kind: 'cross-entropy' },
    ...(newHead === null ? {} : { head: { classes: newHead, seed } }),
    ...(layers === 'head' ? { freeze: { except: 'head' }, features: 'cached' } : {}),
    optimizer: { kind: 'adamw', lr, weightDecay, ...(contender === 'ire' ? { ire } : {}) },
    schedule: { kind: 'cosine', warmup: warmups.schedule },
    batchSize,
    epochs,
    seed,
  }
}

/** The training of one contender as a program for Node. */
export function toProgram(run: TrainedRun, contender: ContenderName, recipe: Recipe): string {
  const { settings, newHead, usage } = run
  const { seed, layers } = settings
  const source = recipe.data.train
  const { kind: _, ire, ...base } = recipe.optimizer as { readonly kind: 'adamw'; readonly ire?: object }
  const adamw = `adamw(${inline(base)})`
  const { reader, imports, lines } = toReader(source, run.input)
  const names = [
    ...['adamw', 'addUsage', 'crossEntropy', 'split', 'Trainer', ...imports],
    ...(ire ? ['ire'] : []),
    ...(newHead === null ? [] : ['replaceHead']),
  ]
  const opened = "await readModel('model.onnx')"
  return `// ${recipe.about}. Needs Node 20 and: npm install onnx-ire onnxruntime-node${run.form.kind === 'image' ? ' sharp' : ''}
import { ${names.sort((a, b) => a.localeCompare(b)).join(', ')} } from 'onnx-ire'
import { node, ${[reader, 'readModel', 'writeModel'].sort().join(', ')} } from 'onnx-ire/node'

${lines.join('\n')}
const { train, validation } = split(data, ${inline(recipe.data.split!)})
const model = ${newHead === null ? opened : `replaceHead(${opened}, ${inline({ classes: newHead, seed })})`}
const runtime = node()
const trainer = await Trainer.create(model, {
  runtime,
  loss: crossEntropy(),
  optimizer: ${ire ? `ire(${adamw}, ${inline(ire)})` : adamw},
  schedule: ${inline(recipe.schedule!)},
  batchSize: ${recipe.batchSize},
  seed: ${recipe.seed},${layers === 'head' ? "\n  freeze: { except: 'head' },\n  features: 'cached'," : ''}
})
for await (const { epoch, loss, validation: held } of trainer.fit(train, { totalEpochs: ${recipe.epochs}, validation }))
  console.log(\`epoch \${epoch}: loss \${loss.toFixed(4)}, held-out accuracy \${held?.accuracy}\`)
await writeModel('${tunedName(contender)}', addUsage(trainer.export(), ${inline(usage)}))
await trainer.dispose()
await runtime.dispose()
`
}

/** Lines that read the data of a source to \`data\`. */
function toReader(source: DataSource, input: string) {
  switch (source.kind) {
    case 'image-folder':
      return {
        reader: 'imageFolder',
        imports: [],
        lines: [
          `const data = await imageFolder('${source.folder}', ${inline({ input, classes: source.classes, image: source.image })})`,
        ],
      }
    case 'csv':
      return {
        reader: 'readCsv',
        imports: [],
        lines: [
          `const data = await readCsv(${inline(source.file)}, ${inline({ delimiter: source.delimiter, tensors: source.tensors, missing: source.missing })})`,
        ],
      }
    case 'idx':
      return {
        reader: 'readIdx',
        imports: ['fromArrays', 'imageColumn', 'labelColumn'],
        lines: [
          'const data = fromArrays({',
          `  ${inline(input)}: imageColumn(await readIdx(${inline(source.images)}), ${inline(source.image)}),`,
          `  labels: labelColumn(await readIdx(${inline(source.labels)})),`,
          '})',
        ],
      }
    default:
      throw new Error(`the playground has no data of the kind ${source.kind}`)
  }
}

/** A value as an expression on one line. */
function inline(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(inline).join(', ')}]`
  if (typeof value === 'string')
    return `'${JSON.stringify(value).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`
  if (typeof value !== 'object' || value === null) return String(value)
  const fields = Object.entries(value).filter(([, each]) => each !== undefined)
  const key = (name: string) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : inline(name))
  return `{ ${fields.map(([name, each]) => `${key(name)}: ${inline(each)}`).join(', ')} }`
}
