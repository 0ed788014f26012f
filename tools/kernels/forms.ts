import { definitions } from '../../src/op/op.js'
import { caseForms } from './case-forms.js'
import type { Form } from './form.js'
import { plainForms } from './plain-forms.js'

/** Forms of every supported operator, by operator. */
export function forms(): ReadonlyMap<string, readonly Form[]> {
  const all = new Map<string, Form[]>()
  for (const form of [...caseForms(), ...plainForms()])
    all.set(form.operator, [...(all.get(form.operator) ?? []), form])
  const names = Object.keys(definitions).toSorted()
  const missing = names.filter((name) => !all.has(name))
  if (missing.length > 0) throw new Error(`no form in tools/kernels shows ${missing.join(', ')} alone`)
  return new Map(names.map((name) => [name, all.get(name)!]))
}
