import { calculus } from '../../src/grad/rules/index.js'
import { upgrades } from '../../src/onnx/upgrade/index.js'
import type { Definition } from '../../src/op/define.js'
import { definitions } from '../../src/op/index.js'
import { cases } from '../grad/cases/index.js'

/** What happens to a gradient that reaches the operator. */
function gradientOf(name: string, { gradient }: Definition): string {
  if (gradient) return gradient.none === 'zero' ? `none: ${gradient.reason}` : `**not offered**: ${gradient.reason}`
  return calculus.rules[name] ? 'rule' : 'expansion'
}

function row(name: string, definition: Definition): string {
  const changes = Object.keys(upgrades[name] ?? {}).join(', ')
  const checked = cases[name] ? `${cases[name].length} cases${cases[name].some(({ float32 }) => float32) ? ' (float32)' : ''}` : ''
  const page = `https://onnx.ai/onnx/operators/onnx__${name}.html`
  return `| [${name}](${page}) | ${definition.since} | ${changes} | ${gradientOf(name, definition)} | ${checked} |`
}

/** OPERATORS.md, from the tables that the library itself works by. */
export function operatorsDocument(): string {
  const all = (Object.entries(definitions) as [string, Definition][]).toSorted(([a], [b]) => (a < b ? -1 : 1))
  const legacy = Object.keys(upgrades).filter((name) => !Object.hasOwn(definitions, name)).toSorted()
  const differentiable = all.filter(([, { gradient }]) => !gradient)
  const missing = all.filter(([, { gradient }]) => gradient?.none === 'missing')
  return `# Operators

Generated from the tables in \`src/op\`, \`src/grad/rules\` and \`src/onnx/upgrade\` by \`npm run generate\`; a test compares.

${all.length} operators of ai.onnx are known: ${differentiable.length} have a gradient, ${missing.length} have a derivative that is not offered (differentiating through
them is an error that names them), and the rest carry no gradient by nature. ${legacy.length > 0 ? `${legacy.join(' and ')} of old operator sets are replaced on import.` : ''}
All of them run in onnxruntime's CPU provider, which is what this version trains on.

- **Since**: the first operator set with the operator's present form. A graph is written in the lowest operator set that has every operator it uses.
- **Upgraded at**: versions whose change importing undoes, so that older models are read too.
- **Gradient**: *rule* is hand-written, *expansion* differentiates simpler operators that compute the same.
- **Checked**: cases of the table test. Each compares the gradient, and the gradient of the gradient, with directional differences,
  with static and with symbolic lengths; in float64, or in float32 where the CPU provider has no float64 kernel.

| Operator | Since | Upgraded at | Gradient | Checked |
|---|---|---|---|---|
${all.map(([name, definition]) => row(name, definition)).join('\n')}
`
}
