import { describe, expect, it } from 'vitest'
import { adamw } from '../../src/optim/adam.js'
import { ire } from '../../src/optim/ire/ire.js'
import { baseOptimizers } from '../../src/optim/registry.js'
import { sam } from '../../src/optim/sam.js'
import { sgd } from '../../src/optim/sgd.js'
import { recipeSchema } from '../../src/recipe/schema.js'
import { checkedNames, declaredOptions, packageEntries } from './declared-options.js'
import { optionAdvice } from './option-advice.js'
import { optionsDocument } from './options.js'
import { recipeDocument, recipeSections } from './recipe-reference.js'

const declared = declaredOptions()
const listed = packageEntries().flatMap(({ interfaces }) => interfaces)

describe('docs/options.md', () => {
  it('equals the generated page', async () => {
    await expect(optionsDocument()).toMatchFileSnapshot('../../docs/options.md')
  })

  it('lists the options of every entry point', () => {
    expect(listed.length).toBeGreaterThan(60)
    expect(listed.flatMap(({ options }) => options).length).toBeGreaterThan(250)
  })

  it('every option has a doc comment', () => {
    const silent = listed.flatMap(({ name, options }) =>
      options.flatMap((option) => (option.comment === '' ? [`${name}.${option.name}`] : [])),
    )
    expect(silent).toEqual([])
  })

  it('every name that options are checked against is on the page', () => {
    const page = optionsDocument()
    const names = checkedNames().filter((name) => name !== 'kind')
    expect(names.length).toBeGreaterThan(60)
    expect(names.filter((name) => !new RegExp(`[\`.]${name}\``).test(page))).toEqual([])
  })

  it('advice refers to existing options', () => {
    const names = new Set(
      [...declared.values()].flatMap(({ name, options }) => options.map((each) => `${name}.${each.name}`)),
    )
    expect(Object.keys(optionAdvice).filter((name) => !names.has(name))).toEqual([])
  })
})

describe('docs/recipe.md', () => {
  it('equals the generated page', async () => {
    await expect(recipeDocument()).toMatchFileSnapshot('../../docs/recipe.md')
  })

  it('has every object of the schema, and what each field takes, its default and its meaning', () => {
    const page = recipeDocument()
    const kinds = [...JSON.stringify(recipeSchema).matchAll(/"kind":\{"const":"([^"]+)"\}/g)].map(([, kind]) => kind!)
    expect(new Set(kinds).size).toBeGreaterThan(50)
    expect(kinds.filter((kind) => !page.includes(`: ${kind}\n`))).toEqual([])
    const fields = recipeSections().flatMap(({ title, fields }) => fields.map((each) => ({ title, ...each })))
    expect(fields.length).toBeGreaterThan(300)
    const incomplete = fields.filter((each) => [each.takes, each.default, each.meaning].includes(''))
    expect(incomplete).toEqual([])
  })
})

it('doc comments of optimizer options give the defaults of the optimizers', () => {
  const created = {
    ...Object.fromEntries(
      Object.entries(baseOptimizers).flatMap(([kind, { create }]) => {
        const name = `${kind.replace(/(^|-)(.)/g, (_, __, letter: string) => letter.toUpperCase())}Options`
        return declared.has(name) ? [[name, create().options]] : []
      }),
    ),
    SamOptions: { ...sam(sgd()) },
    IreOptions: { ...ire(sgd(), { kappa: 1, gamma: 0.5 }) },
  }
  expect(Object.keys(created).length).toBe(Object.keys(baseOptimizers).length + 1) // adamw has Adam's
  let compared = 0
  for (const [name, options] of Object.entries(created))
    for (const { name: option, required, comment } of declared.get(name)!.options) {
      if (required || !(option in options)) continue
      const value = options[option as keyof typeof options] as unknown
      const texts = [value].flat().map((each) => (typeof each === 'number' ? format(each) : String(each)))
      for (const text of texts) {
        expect(comment, `${name}.${option}`).toMatch(whole(text))
        compared++
      }
    }
  expect(compared).toBeGreaterThan(10)
  expect(declared.get('AdamOptions')!.options.find(({ name }) => name === 'weightDecay')!.comment).toMatch(
    whole(String(adamw().options.weightDecay)),
  )
})

/** Formats a number as doc comments do: 1e-3, and 0.05. */
const format = (value: number) => (value > 0 && value < 0.01 ? value.toExponential() : String(value))

/** The text as a whole number or word: 0 does not match 0.9. */
const whole = (text: string) => new RegExp(`(?<![\\w.])${text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?![\\w.]*\\w)`)
