import { type Command, Option } from 'commander'
import { formatNumber } from '../format.js'
import { dtypeOption } from '../inputs/open-language-model.js'
import type { Io } from '../io.js'
import { parseFraction, parseNonNegativeInteger, parsePositiveInteger, parsePositiveNumber } from '../options.js'
import { addAdapterOptions } from '../tuning/adapter-options.js'
import { tuningMethods } from '../tuning/chat-tuning-data.js'
import {
  type ChatTuningRequest,
  type ChatTuningResult,
  formatChatPlan,
  prepareChatTuning,
  runChatTuning,
} from '../tuning/tune-chat.js'
import {
  addTuneOptions,
  formatTuningResult,
  outputOption,
  runTuneCommand,
  type TuneOptions,
} from '../tuning/tune-command.js'
import { defineModelTuning } from './tune-model.js'

type Options = Omit<ChatTuningRequest, 'folder' | 'data' | 'output' | 'resume'> & TuneOptions

/** Defines `onnx-ire tune`. */
export function defineTune(program: Command, io: Io): void {
  const tune = program
    .command('tune')
    .description('fine-tune a pretrained model with good defaults: a plan first, then training, measures and files')
    .addHelpText(
      'after',
      `
Examples:
  $ onnx-ire tune chat SmolLM2-135M-Instruct support.jsonl -o tuned
  $ onnx-ire tune classify distilbert reviews.jsonl -o tuned
  $ onnx-ire tune embed all-MiniLM-L6-v2 pairs.jsonl -o tuned
  $ onnx-ire tune image mobilenet.onnx flowers -o tuned`,
    )
  const chat = tune
    .command('chat')
    .description('teach a chat model the answers of a data file, with an adapter (LoRA)')
    .argument('<folder>', 'folder of a language model, as for transformers.js')
    .argument('<data>', 'conversations: a JSON object per line, or a .csv or .tsv file; see docs/teach-a-chat-model.md')
    .addOption(outputOption('adapter (PEFT) and the model'))
    .addOption(dtypeOption())
    .addOption(
      new Option(
        '--method <method>',
        'sft learns answers; dpo and orpo learn to prefer chosen to rejected answers (default: dpo if all rows have both, else sft)',
      ).choices(tuningMethods),
    )
    .option(
      '--beta <b>',
      'factor of the reward of dpo, weight of the odds ratio of orpo (default: 0.1)',
      parsePositiveNumber,
    )
    .option('--teacher <folder>', 'larger model with the same tokenizer that is imitated, beside the answers')
    .option('--teacher-dtype <type>', 'file of its folder, as --dtype')
    .option(
      '--teacher-weight <share>',
      'share of the teacher, the rest is that of the answers (default: 0.5)',
      parseFraction,
    )
    .option('--temperature <t>', 'divisor of the logits of both models (default: 2)', parsePositiveNumber)
    .option(
      '--adapter <kind|path>',
      'a new adapter: lora, dora or ia3; none trains all weights; or one to continue: a PEFT folder, .onnx_adapter or .onnx file',
      'lora',
    )
    .option('--any-base', 'accept an adapter of another form of the model, such as float instead of 4 bits')
  addAdapterOptions(chat)
    .option(
      '--length <tokens>',
      'longest example; the rest is cut (default: 1,024, or the context of the model if it is shorter)',
      parsePositiveInteger,
    )
    .addOption(
      new Option('--loss <tokens>', 'tokens that sft learns').choices(['assistant', 'all']).default('assistant'),
    )
    .option('--pack', 'fill rows of --length tokens with several examples, without attention between them')
    .option('--epochs <n>', 'passes over the data', parsePositiveInteger, 3)
    .option('--steps <n>', 'steps, in place of epochs', parsePositiveInteger)
    .option('--batch-size <n>', 'examples per step, with --pack rows', parsePositiveInteger, 8)
    .option(
      '--micro-batch <n>',
      'examples that are computed at once (default: about 1,024 tokens)',
      parsePositiveInteger,
    )
    .option('--no-recompute', 'store all activations: faster, with more memory')
    .addOption(
      new Option('--optimizer <name>', 'adamw-8bit stores the first moment in bytes: less memory')
        .choices(['adamw', 'adamw-8bit'])
        .default('adamw'),
    )
    .option(
      '--lr <rate>',
      'learning rate of AdamW (default: 2e-4 for sft, 1e-5 for dpo, 8e-5 for orpo; ten times that for ia3, a tenth for none)',
      parsePositiveNumber,
    )
    .option('--ire', 'enhance flat directions (IRE), after a tenth of the steps, at most 50')
    .option('--kappa <k>', 'enhancement of IRE', parsePositiveNumber, 1)
    .option('--gamma <share>', 'share of coordinates that IRE treats as flat', parseFraction, 0.6)
    .option('--validation <fraction>', 'share of the examples that is held out', parseFraction, 0.05)
    .option('--samples <n>', 'answers to compare before and after', parseNonNegativeInteger, 3)
    .addOption(
      new Option(
        '--form <form>',
        'the model that is written: adapter beside its weights, merged, or merged and quantized',
      )
        .choices(['beside', 'merged', 'q4', 'q8'])
        .default('beside'),
    )
  addTuneOptions(chat)
    .addHelpText(
      'after',
      `
Checkpoints are written every minute and after every epoch, to <output>/checkpoints. Ctrl-C ends the training
after the current step, writes a checkpoint and the adapter that it has by then. The same command with
--resume continues.

Examples:
  $ onnx-ire tune chat SmolLM2-135M-Instruct support.jsonl --dry-run
  $ onnx-ire tune chat SmolLM2-135M-Instruct support.jsonl -o tuned
  $ onnx-ire tune chat Qwen2.5-0.5B-Instruct support.jsonl -o tuned --dtype q4 --length 512 --ire
  $ onnx-ire tune chat SmolLM2-135M-Instruct support.jsonl -o tuned --adapter dora --r 8 --targets q_proj,v_proj
  $ onnx-ire tune chat SmolLM2-135M-Instruct support.jsonl -o tuned --init pissa --rs-lora --save-modules lm_head
  $ onnx-ire tune chat SmolLM2-135M-Instruct support.jsonl -o tuned --adapter ia3
  $ onnx-ire tune chat SmolLM2-135M-Instruct support.jsonl -o again --adapter tuned/adapter
  $ onnx-ire tune chat SmolLM2-135M-Instruct preferences.jsonl -o preferred --method orpo`,
    )
    .action((folder: string, data: string, options: Options) =>
      runTuneCommand(chat, io, options, {
        prepare: (request) => prepareChatTuning({ ...options, ...request, folder, data }),
        formatPlan: formatChatPlan,
        run: runChatTuning,
        formatResult: formatChatResult,
      }),
    )
  defineModelTuning(tune, io)
}

function formatChatResult(result: ChatTuningResult): string {
  const samples = result.samples.map(
    ({ prompt, before, after }) => `user:   ${prompt}\nbefore: ${before}\nafter:  ${after}\n`,
  )
  const { after, rounded, plan } = result
  const loss =
    after && rounded
      ? [
          `loss ${formatNumber(after.loss)} beside the weights, ${formatNumber(rounded.loss)} in ${plan.outputs.at(-1)}, whose weights are rounded\n`,
        ]
      : []
  const saved = plan.outputs.length > 1 ? `the adapter so far is ${plan.outputs[0]}; ` : ''
  return [...samples, ...loss, formatTuningResult(result, saved)].join('\n')
}
