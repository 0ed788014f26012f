import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { adam, adamw } from '../../src/optim/adam.js'
import { ire } from '../../src/optim/ire/ire.js'
import { sam } from '../../src/optim/sam.js'
import { sgd } from '../../src/optim/sgd.js'
import { checkedNames, declaredOptions, publicOptions } from './declared-options.js'

const page = readFileSync(new URL('../../docs/options.md', import.meta.url), 'utf8')

/** The rows of each section, by the interfaces its heading names: `### CSV: `CsvOptions``. */
const sections = page
  .split(/^### /m)
  .slice(1)
  .map((text) => {
    const [heading = ''] = text.split('\n')
    const rows = [...text.matchAll(/^\| `([\w.]+)` \| ((?:\\\||[^|])+) \|/gm)].map(
      ([, name, given]) => [name!, given!] as const,
    )
    return { names: [...heading.matchAll(/`(\w+)`/g)].map(([, name]) => name!), rows: new Map(rows) }
  })

const declared = declaredOptions()
const shown = publicOptions()
const sectionOf = (name: string) => sections.find(({ names }) => names.includes(name))

it('has a section for every interface of options that the package exports', () => {
  const fields = [...shown].filter((name) => (declared.get(name) ?? []).length > 0)
  expect(fields.length).toBeGreaterThan(50)
  expect(fields.filter((name) => !sectionOf(name))).toEqual([])
})

it('is about interfaces that there are', () => {
  const unknown = sections.flatMap(({ names }) => names.filter((name) => !declared.has(name)))
  expect(unknown.filter((name) => /[A-Z]\w*[A-Z]/.test(name))).toEqual([])
})

it('names every option of each, and no other', () => {
  for (const { names, rows } of sections) {
    if (!names.some((name) => shown.has(name))) continue
    const options = names.flatMap((name) => (declared.get(name) ?? []).map((option) => option.name))
    expect([...rows.keys()].sort(), names.join(', ')).toEqual([...new Set(options)].sort())
  }
})

it('gives the defaults that the declarations give', () => {
  let compared = 0
  for (const name of shown)
    for (const option of declared.get(name) ?? []) {
      // A bar within a table's cell is written with a backslash.
      const given = sectionOf(name)!.rows.get(option.name)!.replaceAll('\\|', '|')
      if (option.required) expect(given, `${name}.${option.name}`).toContain('required')
      for (const value of option.defaults) {
        expect(given, `${name}.${option.name}`).toMatch(whole(value))
        compared++
      }
    }
  expect(compared).toBeGreaterThan(80)
})

it('names whatever options are checked against', () => {
  const names = checkedNames().filter((name) => name !== 'kind')
  expect(names.length).toBeGreaterThan(60)
  expect(names.filter((name) => !new RegExp(`[\`.]${name}\``).test(page))).toEqual([])
})

it('gives the defaults that optimizers have', () => {
  const made = {
    SgdOptions: sgd().options,
    AdamOptions: adam().options,
    SamOptions: { ...sam(sgd()) },
    IreOptions: { ...ire(sgd(), { kappa: 1, gamma: 0.5 }) },
  }
  for (const [name, options] of Object.entries(made))
    for (const [option, value] of Object.entries(options)) {
      const given = sectionOf(name)!.rows.get(option)
      if (given === undefined || given === 'required') continue
      const texts = [value].flat().map((each) => (typeof each === 'number' ? number(each) : String(each)))
      for (const text of texts) expect(given, `${name}.${option}`).toMatch(whole(text))
    }
  expect(sectionOf('AdamOptions')!.rows.get('weightDecay')).toContain(`\`adamw\` ${adamw().weightDecay}`)
})

/** As people write it: 1e-3, and 0.05. */
const number = (value: number) => (value > 0 && value < 0.01 ? value.toExponential() : String(value))

/** The text by itself: 0 is not said by 0.9. */
const whole = (text: string) => new RegExp(`(?<![\\w.])${text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?![\\w.]*\\w)`)
