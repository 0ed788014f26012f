import { input, tensorFrom } from '../../src/ir/leaf.js'
import { topological } from '../../src/ir/topology.js'
import type { Node } from '../../src/ir/value.js'
import { isRandom } from '../../src/op/facts.js'
import { Random } from '../../src/util/random.js'
import type { Case } from '../../test/grad/cases/case.js'
import { cases } from '../../test/grad/cases/index.js'
import { draw } from '../../test/grad/draw.js'
import type { Form } from './form.js'

/** Gradient-rule test cases that consist of one operator, in both floating-point types. */
export const caseForms = (): Form[] =>
  Object.entries(cases).flatMap(([operator, ofOperator]) =>
    ofOperator.flatMap((case_) =>
      (['float32', 'float64'] as const).flatMap((dtype) => formOf(operator, case_, dtype) ?? []),
    ),
  )

function formOf(operator: string, { name, operands, build }: Case, dtype: 'float32' | 'float64'): Form | undefined {
  const random = new Random(7).stream(name)
  const feeds = operands
    .map((operand) => draw(operand, dtype, random))
    .map(({ dtype, dims, data }) => tensorFrom(dtype, dims, data))
  const inputs = feeds.map(({ dtype, dims }, i) => input(`x${i}`, dtype, dims))
  const outputs = [build(...inputs)].flat()
  const nodes = topological(outputs)
  if (nodes.some((node) => node.operator !== operator)) return undefined
  return { operator, name, dtype, inputs, outputs, feeds, open: nodes.some(isOpen) }
}

const isOpen = (node: Node): boolean => isRandom(node) || node.attributes['sorted'] === 0
