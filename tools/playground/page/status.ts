import { byId } from './dom.js'

/** Shows a status message, also to screen readers. */
export function showStatus(message: string, kind: 'info' | 'warning' | 'error' = 'info'): void {
  const status = byId('status')
  status.setAttribute('role', kind === 'error' ? 'alert' : 'status')
  status.textContent = message
  status.dataset['kind'] = kind
}

/** Number of actions in progress. */
let running = 0

/**
 * Runs the action of a control, which is disabled meanwhile, and shows an error if the action fails. An error that an
 * earlier action has shown is removed.
 */
export async function runGuarded(control: HTMLButtonElement | HTMLInputElement | null, work: () => Promise<void>) {
  const focused = control !== null && document.activeElement === control
  if (control) control.disabled = true
  if (byId('status').dataset['kind'] === 'error') showStatus('')
  running++
  document.body.setAttribute('aria-busy', 'true')
  try {
    await work()
  } catch (error) {
    showStatus(error instanceof Error ? error.message : String(error), 'error')
  } finally {
    if (control) control.disabled = false
    // A disabled control loses the focus.
    if (focused && document.activeElement === document.body) control.focus()
    if (--running === 0) document.body.removeAttribute('aria-busy')
  }
}
