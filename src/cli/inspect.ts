import { stat } from 'node:fs/promises'
import type { Command } from 'commander'
import { print } from './output.js'

interface Options {
  readonly tensors?: true
  readonly json?: true
}

export function defineInspect(program: Command): void {
  program
    .command('inspect')
    .description('show what a model is made of, and which of its tensors training would vary')
    .argument('<model>', 'an ONNX file')
    .option('--tensors', 'list every tensor')
    .option('--json', 'write JSON to standard output')
    .addHelpText(
      'after',
      `
Examples:
  $ onnx-ire inspect model.onnx
  $ onnx-ire inspect model.onnx --tensors
  $ onnx-ire inspect model.onnx --json | jq '.tensors[] | select(.trainable) | .name'`,
    )
    .action(async (path: string, { tensors, json }: Options) => {
      const [{ readModel }, { inspectModel }, { inspectionText }] = await Promise.all([
        import('../node/model.js'),
        import('../train/inspect.js'),
        import('./inspection-text.js'),
      ])
      const inspection = { file: path, ...inspectModel(await readModel(path)) }
      const { size } = await stat(path)
      print({ ...inspection, bytes: size }, json, () => inspectionText(path, size, inspection, tensors ?? false))
    })
}
