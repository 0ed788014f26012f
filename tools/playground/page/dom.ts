/** Finds the element with this id. */
export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  const found = document.getElementById(id)
  if (!found) throw new Error(`the page has no element #${id}`)
  return found as E
}

/** Creates an element. */
export function createElement<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

export const inputById = (id: string): HTMLInputElement => byId<HTMLInputElement>(id)

/** Reads a number field, checked against its min, max and step. Throws the validation message of the browser. */
export function readNumber(id: string): number {
  const field = inputById(id)
  if (!field.checkValidity()) {
    const folded = field.closest('details')
    if (folded) folded.open = true
  }
  if (!field.reportValidity())
    throw new Error(`${field.labels?.[0]?.textContent?.trim() ?? id}: ${field.validationMessage}`)
  return field.valueAsNumber
}

/** Creates a file input that also reports choosing the same file again, for example after an error. */
export function createFileInput(id: string): HTMLInputElement {
  const field = inputById(id)
  field.addEventListener('click', () => {
    field.value = ''
  })
  return field
}
