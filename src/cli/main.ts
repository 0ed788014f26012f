#!/usr/bin/env node
import { createRequire } from 'node:module'
import { Command } from 'commander'
import { defineBuild } from './build.js'
import { defineData } from './data-prepare.js'
import { defineEvaluate } from './evaluate.js'
import { defineExport } from './export.js'
import { report } from './failure.js'
import { defineGradient } from './gradient.js'
import { defineInit } from './init.js'
import { defineInspect } from './inspect.js'
import { definePredict } from './predict.js'
import { defineSharpness } from './sharpness.js'
import { defineTrain } from './train.js'

const { version, description } = createRequire(import.meta.url)('../../package.json')

const program = new Command('onnx-ire')
  .description(description)
  .version(version)
  .exitOverride()
  .showHelpAfterError('(--help shows how it is used)')
  .addHelpText(
    'after',
    `
Examples:
  $ onnx-ire init llama-tiny -o model.onnx
  $ onnx-ire inspect model.onnx
  $ onnx-ire train recipe.json --set optimizer.ire.kappa=3
  $ onnx-ire evaluate runs/recipe/tuned.onnx recipe.json
  $ onnx-ire predict runs/recipe/tuned.onnx recipe.json --classes -o predictions.csv
  $ onnx-ire help train

Every command takes --json and then writes one JSON document to standard output, { "error": { code, message } } when it
fails. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted and saved.`,
  )

for (const define of [
  defineInit,
  defineInspect,
  defineGradient,
  defineBuild,
  defineTrain,
  defineEvaluate,
  definePredict,
  defineSharpness,
  defineExport,
  defineData,
]) {
  define(program)
}

// A reader that has seen enough (head, less) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit()
  throw error
})

try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = report(error, process.argv.includes('--json'))
}
