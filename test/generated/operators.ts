import { gradientTables } from '../../src/grad/gradient-tables.js'
import { unsupportedOperators } from '../../src/onnx/import/model-nodes.js'
import { sequenceRewrites } from '../../src/onnx/upgrade/sequence.js'
import { upgrades } from '../../src/onnx/upgrade/table.js'
import { rewrites } from '../../src/onnx/upgrade/upgrade-node.js'
import type { Definition } from '../../src/op/define.js'
import { definitions } from '../../src/op/op.js'
import { cases } from '../grad/cases/index.js'
import { ending, exceptions, kernelCells, leftToCpu, shadersCell, summaryOf } from './kernels.js'
import { opset26 } from './opset26.js'

const microsoft = rewrites['com.microsoft']!

/** Treatment of a gradient that reaches the operator. */
function gradientOf(name: string, { gradient }: Definition): string {
  if (gradient) return gradient.none === 'zero' ? `none: ${gradient.reason}` : `**not offered**: ${gradient.reason}`
  return gradientTables.rules[name] || gradientTables.control[name] ? 'rule' : 'expansion'
}

const known: Readonly<Record<string, Definition>> = Object.fromEntries(
  Object.entries(definitions) as [string, Definition][],
)

/** Treatment of an operator that has no definition of its own. */
function otherwise(name: string): string {
  if (name === 'Constant') return 'none: a constant'
  if (upgrades[name]) return 'replaced on import by what ONNX has in its place'
  if (sequenceRewrites[name]) return 'resolved on import, at positions that are known then'
  const reason = unsupportedOperators[name]
  if (!reason) throw new Error(`${name} is neither known nor refused with a reason`)
  return `**not read**: ${reason}`
}

function row(name: string): string {
  const definition = known[name]
  const changes = Object.keys(upgrades[name] ?? {}).join(', ')
  const ofOperator = cases[name] ?? []
  const single = ofOperator.some(({ float32 }) => float32) ? ' (float32)' : ''
  const checked = ofOperator.length > 0 ? `${ofOperator.length} case${ofOperator.length === 1 ? '' : 's'}${single}` : ''
  const page =
    (definition?.domain ?? '') === ''
      ? `https://onnx.ai/onnx/operators/onnx__${name}.html`
      : `https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#${definition!.domain}.${name}`
  const gradient = definition ? gradientOf(name, definition) : otherwise(name)
  return `| [${name}](${page}) | ${definition?.since ?? ''} | ${changes} | ${gradient} | ${checked} | ${[...kernelCells(name), shadersCell(name)].join(' | ')} |`
}

const head = `| Operator | Since | Upgraded at | Gradient | Checked | CPU | wasm | WebGPU | Shaders |
|---|---|---|---|---|---|---|---|---|`

/** Reasons for which WebGPU leaves operators to the CPU. */
const reasons: readonly (readonly [reason: string, operators: readonly string[]])[] = [
  ['they are about text', ['RegexFullMatch', 'StringConcat', 'StringNormalizer', 'StringSplit']],
  [
    'the length of the result depends on the data, and a GPU program has to know it before',
    ['Compress', 'NonMaxSuppression', 'NonZero', 'Unique'],
  ],
  [
    'random numbers need a state from run to run, which operators on a GPU do not have; shaders have one',
    ['Bernoulli', 'Multinomial', 'RandomNormal', 'RandomNormalLike', 'RandomUniform', 'RandomUniformLike'],
  ],
  ['the host has the lengths, and nothing is copied', ['Size']],
  ['no other operator sees the bits of a number; shaders compute it', ['BitCast']],
]

function whyOnCpu(): string {
  const named = reasons.flatMap(([, operators]) => operators).toSorted()
  const left = leftToCpu().toSorted()
  if (named.join() !== left.join()) throw new Error(`WebGPU leaves ${left} to the CPU; reasons are given for ${named}`)
  return reasons.map(([reason, operators]) => `- ${operators.join(', ')}: ${reason}.`).join('\n')
}

/** OPERATORS.md, from the tables that the library itself works by. */
export function operatorsDocument(): string {
  const names = Object.keys(known).filter((name) => known[name]!.domain === '')
  const unlisted = names.filter((name) => !opset26.includes(name))
  if (unlisted.length > 0) throw new Error(`operator set 26 has no ${unlisted.join(', ')}`)
  const others = Object.keys(known).filter((name) => known[name]!.domain !== '')
  const differentiable = names.filter((name) => !known[name]!.gradient)
  const missing = names.filter((name) => known[name]!.gradient?.none === 'missing')
  const notRead = opset26.filter((name) => Object.hasOwn(unsupportedOperators, name))
  return `# Operators

Generated from the tables in \`src/op\`, \`src/grad/rules\` and \`src/onnx/upgrade\` by \`npm run generate\`; a test compares.

Operator set 26 of ai.onnx has ${opset26.length} operators. ${differentiable.length} of them have a gradient. ${missing.length} have a derivative that is not offered:
differentiating through them is an error that names them. ${notRead.length} are not read: a model that uses them is refused with their
names. The rest carry no gradient by nature, or are replaced on import by operators that may.

- **Since**: the first operator set with the operator's present form. A graph is written in the lowest operator set that has every operator it uses.
- **Upgraded at**: versions whose change importing undoes, so that older models are read too.
- **Gradient**: *rule* is hand-written, *expansion* differentiates simpler operators that compute the same (a test compares those).
- **Checked**: cases of the table test. Each compares the gradient, and the gradient of the gradient, with directional differences,
  with static and with symbolic lengths; in float64, or in float32 where onnxruntime's CPU provider, which runs all of them, has no float64
  kernel.
- **CPU**, **wasm**, **WebGPU**: whether it runs, found by trying the cases, or a graph of the operator alone, in float32 and float64, and comparing
  results with the CPU's (\`tools/kernels\`; a test tries the CPU again). *yes*: in all types tried. *float32*: in this type only. *no*: it does not.
  *lowered*: the WebGPU provider has no kernel for it, or a wrong one, and it is written in operators that run there (\`src/lowering\`), as *3 lowered* of its
  forms are. *on CPU*: the WebGPU provider leaves it to the CPU, which takes a copy there and back. *yes, but 2*: two of the forms do otherwise, see
  [exceptions](#exceptions). *to 21*: operator sets after 21 have no such kernel. Empty: no graph has it.
- **Shaders**: whether \`webgpu()\` in browsers computes it by compute shaders that are made from the graphs of training (\`src/shader\`). A graph becomes
  shaders as a whole, for the lengths of its batches, or onnxruntime runs all of it, with the operators of the column *WebGPU*; \`runtime.description\` then
  says why. The graphs of training are losses, gradients and evaluation in between; \`predict\`, \`compileModel\` and everything in Node run in onnxruntime.
  Results of shaders are compared with the CPU's in Chromium.

| | Measured with | Operators it runs | It runs when lowered | It leaves to the CPU | It does not run |
|---|---|---|---|---|---|
${summaryOf('cpu')}
${summaryOf('wasm')}
${summaryOf('webgpu')}
${summaryOf('shaders')}

WebGPU leaves these to the CPU:

${whyOnCpu()}

WebGPU has no float64. Whole numbers are tried where an operator takes nothing else, and in comparisons. CUDA is not measured.

A graph is written in the operator set of its latest operator, and some kernels end before set 26. In a later set than the one behind their
names, the CPU does not run ${ending('cpu')};
WebGPU has no kernel for ${ending('webgpu')}: a graph is written in older
operators where that avoids it.

${head}
${opset26.map(row).join('\n')}

## com.microsoft

onnxruntime's own domain, which its exporters and its graph optimizer write. Importing writes these in operators of ai.onnx, so that their
gradients are those of the operators above; onnxruntime merges many of them again when it loads a graph:
${Object.keys(microsoft).toSorted().join(', ')}
(and SimplifiedLayerNormalization in ai.onnx). A test compares each with onnxruntime's own kernel, and its gradient with directional
differences of that kernel. Refused with a message are a cache that is shared or quantized, rotary embedding inside of Attention, packed
batches and attributes that are not known. GroupQueryAttention takes every past key to count: rows may be padded at their end only.

These stay as they are. The weights of a model that is stored in 4 bits stay packed, in its gradient too:

${head}
${others.toSorted().map(row).join('\n')}

## Exceptions

Forms that do otherwise than the rest of their operator's, by the name of their case in \`test/grad/cases\` or \`tools/kernels\`.

${exceptions()}
`
}
