import { byId } from './dom.js'
import { runGuarded, showStatus } from './status.js'

/** Controls of the settings, whose ids are their names in a link. */
const controls = () =>
  document.querySelectorAll<HTMLInputElement | HTMLSelectElement>('#settings input, #settings select')

/** A link to this page with the settings that are chosen in it. */
function settingsLink(): string {
  const values = [...controls()].map((control): [string, string] => [
    control.id,
    control.type === 'checkbox' ? String((control as HTMLInputElement).checked) : control.value,
  ])
  const link = new URL(location.href)
  link.hash = new URLSearchParams(values).toString()
  return link.href
}

/** Copies the link when its button is pressed. */
export function offerSettingsLink(): void {
  const button = byId<HTMLButtonElement>('copy-link')
  button.addEventListener('click', () =>
    runGuarded(button, async () => {
      await navigator.clipboard.writeText(settingsLink())
      showStatus('The link is copied: it opens this page with these settings, without model and data.')
    }),
  )
}

/**
 * Chooses the settings of the address of this page, and returns whether it has any. Values that a control does not allow
 * are left out.
 */
export function applySettingsLink(): boolean {
  const values = new URLSearchParams(location.hash.slice(1))
  let applied = false
  for (const control of controls()) {
    const value = values.get(control.id)
    if (value === null || control.disabled) continue
    const before = control.value
    if (control.type === 'checkbox') (control as HTMLInputElement).checked = value === 'true'
    else control.value = value
    if (!control.checkValidity() || control.value === '') control.value = before
    else {
      applied = true
      control.dispatchEvent(new Event('change', { bubbles: true }))
    }
  }
  return applied
}
