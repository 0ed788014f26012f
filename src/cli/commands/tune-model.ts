import { type Command, InvalidArgumentError, Option } from 'commander'
import { dtypeOption } from '../inputs/open-language-model.js'
import { defaultTextLength } from '../inputs/text-encoder.js'
import type { Io } from '../io.js'
import {
  parseFraction,
  parseList,
  parseNonNegativeInteger,
  parsePositiveInteger,
  parsePositiveNumber,
} from '../options.js'
import { adapterKinds, addAdapterOptions } from '../tuning/adapter-options.js'
import { type ImageRequest, prepareImage } from '../tuning/image-task.js'
import {
  formatModelPlan,
  formatModelResult,
  type ModelTask,
  type ModelTuningRequest,
  prepareModelTuning,
  runModelTuning,
} from '../tuning/model-tuning.js'
import { type ClassifyRequest, type EmbedRequest, prepareClassify, prepareEmbed } from '../tuning/text-tasks.js'
import { addTuneOptions, outputOption, runTuneCommand, type TuneOptions } from '../tuning/tune-command.js'

/** Defines `onnx-ire tune classify`, `embed` and `image`. */
export function defineModelTuning(tune: Command, io: Io): void {
  const classify = tune
    .command('classify')
    .description('train a text classifier on labeled texts')
    .argument('<folder>', 'folder of an encoder with its tokenizer, as for transformers.js')
    .argument('<data>', 'rows { text, label }: a JSON object per line, a JSON list, or a .csv or .tsv file')
  addOptions(classify, 'model with the new weights', { epochs: 3, batchSize: 16 })
    .addOption(dtypeOption())
    .option('--text <field>', 'field of the text', 'text')
    .option('--label <field>', 'field of the class', 'label')
    .option('--length <tokens>', 'longest text; the rest is cut', parsePositiveInteger, defaultTextLength)
    .addHelpText(
      'after',
      `
The last layer is replaced by one of as many classes as the data have, unless config.json names all of them.
The names are written to config.json of the result.

Examples:
  $ onnx-ire tune classify distilbert reviews.jsonl --dry-run
  $ onnx-ire tune classify distilbert reviews.jsonl -o moods --label mood --r 16
  $ onnx-ire tune classify distilbert reviews.jsonl -o moods --adapter ia3 --targets k_lin,v_lin,lin2 --feedforward lin2`,
    )
    .action((folder: string, data: string, options: Options<ClassifyRequest>) =>
      run(classify, io, options, (request) => prepareClassify({ ...request, folder, data })),
    )
  const embed = tune
    .command('embed')
    .description('train a text encoder on pairs of texts that belong together')
    .argument('<folder>', 'folder of an encoder with its tokenizer, as for transformers.js')
    .argument(
      '<data>',
      'rows { anchor, positive }, also with negative or score: a JSON object per line, a JSON list, or a .csv or .tsv file',
    )
  addOptions(embed, 'model with the new weights', { epochs: 1, batchSize: 32 })
    .addOption(dtypeOption())
    .addOption(
      new Option('--pooling <kind>', 'how the states of the tokens become one embedding')
        .choices(['mean', 'first', 'none'])
        .default('mean'),
    )
    .option(
      '--scale <factor>',
      'factor of cosine similarities, for rows without score (default: 20)',
      parsePositiveNumber,
    )
    .option('--length <tokens>', 'longest text; the rest is cut', parsePositiveInteger, 128)
    .addHelpText(
      'after',
      `
The positives of a batch are the candidates for each of its anchors (InfoNCE); a larger --batch-size makes the
task harder. Rows with a score from -1 to 1 are trained to have that cosine similarity. accuracy and top5 of
held-out rows are the recall at 1 and at 5 among the candidates of a batch.

Examples:
  $ onnx-ire tune embed all-MiniLM-L6-v2 pairs.jsonl --dry-run
  $ onnx-ire tune embed all-MiniLM-L6-v2 pairs.jsonl -o search --batch-size 64
  $ onnx-ire tune embed all-MiniLM-L6-v2 pairs.jsonl -o search --adapter dora --r 8 --targets query,value`,
    )
    .action((folder: string, data: string, options: Options<EmbedRequest>) =>
      run(embed, io, options, (request) => prepareEmbed({ ...request, folder, data })),
    )
  const image = tune
    .command('image')
    .description('train an image classifier on a folder of images')
    .argument('<model>', 'an ONNX file')
    .argument('<folder>', 'images in one sub-folder per class')
  addOptions(image, 'model.onnx and classes.json', { epochs: 5, batchSize: 32 })
    .option('--size <pixels>', 'side of the square images (default: that of the model)', parsePositiveInteger)
    .option(
      '--mean <r,g,b>',
      'mean of the channels, of pixels in [0, 1] (default: that of ImageNet, or none if the model scales pixels itself)',
      parseChannels,
    )
    .option('--std <r,g,b>', 'standard deviation of the channels (default: that of ImageNet)', parseDeviations)
    .addHelpText(
      'after',
      `
Examples:
  $ onnx-ire tune image mobilenet.onnx flowers --dry-run
  $ onnx-ire tune image mobilenet.onnx flowers -o tuned --size 224 --epochs 10`,
    )
    .action((model: string, folder: string, options: Options<ImageRequest>) =>
      run(image, io, options, (request) => prepareImage({ ...request, model, folder })),
    )
}

type Options<Request> = Omit<Request, 'folder' | 'data' | 'model' | 'output' | 'resume'> & TuneOptions

/** Adds the options of every task. */
function addOptions(
  command: Command,
  writes: string,
  { epochs, batchSize }: { readonly epochs: number; readonly batchSize: number },
): Command {
  addAdapterOptions(command)
    .addOption(outputOption(writes))
    .addOption(
      new Option(
        '--adapter <kind>',
        'adapter that is trained, and merged at the end; none trains all weights (default: lora with one of the next options, else none)',
      ).choices(adapterKinds),
    )
    .option('--lr <rate>', 'learning rate of AdamW (default: by task, larger with --adapter)', parsePositiveNumber)
    .option('--epochs <n>', 'passes over the data', parsePositiveInteger, epochs)
    .option('--steps <n>', 'steps, in place of epochs', parsePositiveInteger)
    .option('--batch-size <n>', 'examples per step', parsePositiveInteger, batchSize)
    .option('--micro-batch <n>', 'examples that are computed at once (default: all of a step)', parsePositiveInteger)
    .option('--ire', 'enhance flat directions (IRE)')
    .option('--kappa <k>', 'enhancement of IRE', parsePositiveNumber, 1)
    .option('--gamma <share>', 'share of coordinates that IRE treats as flat', parseFraction, 0.6)
    .option('--validation <fraction>', 'share of the examples that is held out', parseFraction, 0.1)
    .option(
      '--samples <n>',
      'held-out examples whose predictions are shown before and after',
      parseNonNegativeInteger,
      3,
    )
  return addTuneOptions(command)
}

function parseChannels(text: string): number[] {
  const values = parseList(text).map(Number)
  if (values.length === 3 && values.every(Number.isFinite)) return values
  throw new InvalidArgumentError('It must be three numbers, separated by commas.')
}

function parseDeviations(text: string): number[] {
  const values = parseChannels(text)
  if (!values.includes(0)) return values
  throw new InvalidArgumentError('Pixels are divided by them, so none may be 0.')
}

function run<Request extends ModelTuningRequest>(
  command: Command,
  io: Io,
  options: Options<Request>,
  prepare: (request: Omit<Request, 'folder' | 'data' | 'model'>) => Promise<ModelTask>,
): Promise<void> {
  return runTuneCommand(command, io, options, {
    async prepare(given) {
      const request = { ...options, ...given } as unknown as Omit<Request, 'folder' | 'data' | 'model'> &
        ModelTuningRequest
      return prepareModelTuning(request, await prepare(request))
    },
    formatPlan: formatModelPlan,
    run: runModelTuning,
    formatResult: formatModelResult,
  })
}
