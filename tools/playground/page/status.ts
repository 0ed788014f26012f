import { byId } from './dom.js'

/** Shows a status message, also to screen readers. */
export function showStatus(message: string, kind: 'info' | 'warning' | 'error' = 'info'): void {
  const status = byId('status')
  status.setAttribute('role', kind === 'error' ? 'alert' : 'status')
  status.textContent = message
  status.dataset['kind'] = kind
}

/** Runs the action of a control, which is disabled meanwhile, and shows an error if the action fails. */
export async function runGuarded(control: HTMLButtonElement | HTMLInputElement | null, work: () => Promise<void>) {
  const focused = control !== null && document.activeElement === control
  if (control) control.disabled = true
  document.body.setAttribute('aria-busy', 'true')
  try {
    await work()
  } catch (error) {
    showStatus(error instanceof Error ? error.message : String(error), 'error')
  } finally {
    if (control) control.disabled = false
    // A disabled control loses the focus.
    if (focused && document.activeElement === document.body) control.focus()
    document.body.removeAttribute('aria-busy')
  }
}
