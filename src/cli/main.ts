import { createRequire } from 'node:module'
import { Command, type ErrorOptions } from 'commander'
import { closest } from '../util/closest.js'
import { getOwn } from '../util/record.js'
import { reportError, usageError } from './errors.js'
import { type Io, processIo, writeText } from './io.js'

const { version, description } = createRequire(import.meta.url)('../../package.json')

/**
 * Runs one command of `onnx-ire` and returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted and saved.
 * @param args the arguments after the name of the program
 */
export async function main(args: readonly string[], io: Io = processIo): Promise<number> {
  const program = new AdvisingCommand('onnx-ire')
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
  const own = commands.get(args[0] ?? '')
  for (const load of own ? [own] : commands.values()) {
    const define = await load()
    define(program, io)
  }
  try {
    await program.parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    return reportError(io, error, args.includes('--json'))
  }
}

/** A command whose error for a missing argument names the option that has taken its value. */
class AdvisingCommand extends Command {
  override createCommand(name?: string): AdvisingCommand {
    return new AdvisingCommand(name)
  }

  override error(message: string, options?: ErrorOptions): never {
    const greedy = this.options.find(
      (option) => option.variadic && this.getOptionValueSource(option.attributeName()) === 'cli',
    )
    if (options?.code !== 'commander.missingArgument' || !greedy) return super.error(message, options)
    return super.error(`${message}; ${greedy.long} takes all values after it: give the argument before it`, options)
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

/**
 * Loads the definition of each command, by its name and in the order of the help: most of the time of a short command
 * is that of loading modules.
 */
const commands: ReadonlyMap<string, () => Promise<(program: Command, io: Io) => void>> = new Map([
  ['init', async () => (await import('./commands/init.js')).defineInit],
  ['inspect', async () => (await import('./commands/inspect.js')).defineInspect],
  ['batch', async () => (await import('./commands/batch.js')).defineBatch],
  ['gradient', async () => (await import('./commands/gradient.js')).defineGradient],
  ['build', async () => (await import('./commands/build.js')).defineBuild],
  ['train', async () => (await import('./commands/train.js')).defineTrain],
  ['sweep', async () => (await import('./commands/sweep.js')).defineSweep],
  ['lr', async () => (await import('./commands/lr.js')).defineLr],
  ['show', async () => (await import('./commands/show.js')).defineShow],
  ['plot', async () => (await import('./commands/plot.js')).definePlot],
  ['watch', async () => (await import('./commands/watch.js')).defineWatch],
  ['evaluate', async () => (await import('./commands/evaluate.js')).defineEvaluate],
  ['predict', async () => (await import('./commands/predict.js')).definePredict],
  ['snippet', async () => (await import('./commands/snippet.js')).defineSnippet],
  ['labels', async () => (await import('./commands/labels.js')).defineLabels],
  ['sharpness', async () => (await import('./commands/sharpness.js')).defineSharpness],
  ['export', async () => (await import('./commands/export.js')).defineExport],
  ['adapter', async () => (await import('./commands/adapter.js')).defineAdapter],
  ['data', async () => (await import('./commands/data.js')).defineData],
  ['tune', async () => (await import('./commands/tune.js')).defineTune],
  ['chat', async () => (await import('./commands/chat.js')).defineChat],
])

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

Every command takes --json and then writes one JSON document to standard output (predict without --output a line of JSON
per example), { "error": { code, message } } when it fails. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted
and saved.`
