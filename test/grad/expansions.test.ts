import { describe, expect, it } from 'vitest'
import { gradientTables } from '../../src/grad/gradient-tables.js'
import { input } from '../../src/ir/leaf.js'
import type { Value } from '../../src/ir/value.js'
import { Random } from '../../src/util/random.js'
import { cases } from './cases/index.js'
import { compile } from './check.js'
import { draw } from './draw.js'

const { expansions } = gradientTables
const composite = Object.entries(cases).filter(([operator]) => Object.hasOwn(expansions, operator))

/** An expansion is differentiated in the place of its operator: it has to compute the same. */
describe.each(composite)('the expansion of %s', (operator, ofOperator) => {
  it.each(ofOperator)('$name', async ({ name, operands, build, float32 }) => {
    const dtype = float32 ? 'float32' : 'float64'
    const random = new Random(7).stream(name)
    const feeds = operands.map((operand) => draw(operand, dtype, random))
    const x = feeds.map(({ dtype, dims }, i) => input(`x${i}`, dtype, dims))
    const [y] = [build(...x)].flat() as [Value]
    const node = y.source
    if (node.kind !== 'node' || node.operator !== operator) return
    const expanded = ([expansions[operator]!(node.inputs, node.attributes)].flat() as Value[])[node.outputs.indexOf(y)]!
    expect(expanded.dtype).toBe(y.dtype)
    const [computed, composed] = await (await compile('both', x, [y, expanded]))(feeds)
    expect(composed!.dims).toEqual(computed!.dims)
    const size = Math.max(1e-3, ...computed!.data.map(Math.abs))
    const error = Math.max(0, ...computed!.data.map((value, i) => Math.abs(value - composed!.data[i]!)))
    // Attributes are written in single precision, also for operators on doubles.
    expect(error / size).toBeLessThan(float32 ? 1e-5 : 1e-6)
  })
})
