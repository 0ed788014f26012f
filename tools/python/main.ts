import { Argument, Command } from 'commander'
import { environments, environmentsFolder, install, installCommand, isInstalled, pythonOf } from './environments.js'

/** `npm run python`: installs the Python environments that tools/bench, torch, language and trackers use. */
const program = new Command('python')
  .description('Install Python environments for the tools, from PyPI, with the versions of tools/python/*.txt.')
  .addArgument(new Argument('[names...]', 'environments to install; none: list them').choices(environments))
  .option('--python <command>', 'Python 3.10 or newer that creates the environments', 'python3')
  .addHelpText(
    'after',
    `
The folder is ${environmentsFolder()} (set ONNX_IRE_PYTHON for another). PyTorch's package for x86 Linux brings the
libraries of CUDA: 5 GB on the disk.

Examples:
  ${installCommand('torch')}
  ${installCommand('torch', 'jax')} --python /usr/bin/python3.12`,
  )
  .parse()

const names = program.args as (typeof environments)[number][]
for (const name of names) install(name, program.opts<{ python: string }>().python)
for (const name of names.length > 0 ? names : environments)
  console.log(`${name}: ${isInstalled(name) ? pythonOf(name) : `not installed; ${installCommand(name)}`}`)
