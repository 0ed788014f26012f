import { createRequire } from 'node:module'
import { Command } from 'commander'
import { closest } from '../util/closest.js'
import { getOwn } from '../util/record.js'
import { defineAdapter } from './commands/adapter.js'
import { defineBatch } from './commands/batch.js'
import { defineBuild } from './commands/build.js'
import { defineChat } from './commands/chat.js'
import { defineData } from './commands/data.js'
import { defineEvaluate } from './commands/evaluate.js'
import { defineExport } from './commands/export.js'
import { defineGradient } from './commands/gradient.js'
import { defineInit } from './commands/init.js'
import { defineInspect } from './commands/inspect.js'
import { defineLabels } from './commands/labels.js'
import { defineLr } from './commands/lr.js'
import { definePlot } from './commands/plot.js'
import { definePredict } from './commands/predict.js'
import { defineSharpness } from './commands/sharpness.js'
import { defineShow } from './commands/show.js'
import { defineSnippet } from './commands/snippet.js'
import { defineSweep } from './commands/sweep.js'
import { defineTrain } from './commands/train.js'
import { defineTune } from './commands/tune.js'
import { defineWatch } from './commands/watch.js'
import { reportError, usageError } from './errors.js'
import { type Io, processIo, writeText } from './io.js'

const { version, description } = createRequire(import.meta.url)('../../package.json')

/**
 * Runs one command of `onnx-ire` and returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted and saved.
 * @param args the arguments after the name of the program
 */
export async function main(args: readonly string[], io: Io = processIo): Promise<number> {
  const program = new Command('onnx-ire')
    .description(description)
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => writeText(io.stdout, text),
      writeErr: (text) => writeText(io.stderr, text),
    })
    .showHelpAfterError('(--help shows how it is used)')
    .addHelpText('after', help)
    .on('command:*', ([name = '']: readonly string[]) => refuseCommand(program, name))
  for (const define of commands) define(program, io)
  try {
    await program.parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    return reportError(io, error, args.includes('--json'))
  }
}

/** Ends with usage error for a command that does not exist, naming the one that is probably meant. */
function refuseCommand(program: Command, name: string): never {
  const names = program.commands.map((command) => command.name())
  const meant = getOwn(otherNames, name) ?? closest(name, names)
  return usageError(program, `unknown command '${name}'${meant === undefined ? '' : `\n(Did you mean ${meant}?)`}`)
}

/** Commands under names that other programs have for them. */
const otherNames: Readonly<Record<string, string>> = {
  compare: 'show',
  dashboard: 'watch',
  eval: 'evaluate',
  'fine-tune': 'tune',
  finetune: 'tune',
  infer: 'predict',
  search: 'sweep',
  serve: 'snippet',
  'serve-snippet': 'snippet',
  test: 'evaluate',
}

const commands = [
  defineInit,
  defineInspect,
  defineBatch,
  defineGradient,
  defineBuild,
  defineTrain,
  defineSweep,
  defineLr,
  defineShow,
  definePlot,
  defineWatch,
  defineEvaluate,
  definePredict,
  defineSnippet,
  defineLabels,
  defineSharpness,
  defineExport,
  defineAdapter,
  defineData,
  defineTune,
  defineChat,
]

const help = `
Examples:
  $ onnx-ire init llama-tiny -o model.onnx
  $ onnx-ire inspect model.onnx
  $ onnx-ire train recipe.json --set optimizer.ire.kappa=3
  $ onnx-ire sweep recipe.json --over optimizer.lr=1e-4,3e-4,1e-3
  $ onnx-ire show runs/*
  $ onnx-ire evaluate runs/recipe/tuned.onnx recipe.json
  $ onnx-ire predict runs/recipe/tuned.onnx recipe.json --classes -o predictions.csv
  $ onnx-ire help train

Every command takes --json and then writes one JSON document to standard output, { "error": { code, message } } when it
fails. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted and saved.`
