import { describe, expect, it } from 'vitest'
import { body } from '../../src/ir/body.js'
import { constant, input, scalar, tensorFrom } from '../../src/ir/leaf.js'
import { op } from '../../src/op/op.js'
import { rewriteGraph } from '../../src/op/rewrite.js'
import { evaluate, vector } from '../grad/evaluate.js'

const yes = constant(tensorFrom('bool', [], [1]))

describe('rewriting a graph', () => {
  const x = vector('x', 2, 3)
  const negatives = (node: { operator: string }, [value]: readonly unknown[]) =>
    node.operator === 'Abs' ? [op.Neg(value as typeof x)] : undefined

  it('nodes that depend on no replaced value > are shared', () => {
    const kept = op.Exp(x)
    const [y, z] = rewriteGraph([op.Add(kept, op.Abs(x)), kept], negatives)
    expect(z).toBe(kept)
    expect(y!.source).toMatchObject({ operator: 'Add', inputs: [kept, { source: { operator: 'Neg' } }] })
  })

  it('values captured by nested bodies > are replaced', async () => {
    const a = op.Abs(x)
    const state = input('s', 'float32', [2])
    const [y] = op.Loop(scalar('int64', 2), null, [x], {
      body: body([input('i', 'int64', []), input('again', 'bool', []), state], (i, again, s) => [
        again!,
        op.If(op.Less(i!, 1), {
          then_branch: body([], () => [op.Sub(s!, a)]),
          else_branch: body([], () => [op.Mul(s!, a)]),
        })[0]!,
      ]),
    })
    expect(await evaluate(...rewriteGraph([y!], negatives))).toEqual([[-8, -18]])
    const [z] = op.If(yes, { then_branch: body([], () => [a]), else_branch: body([], () => [x]) })
    expect(await evaluate(...rewriteGraph([z!], negatives))).toEqual([[-2, -3]])
  })
})
