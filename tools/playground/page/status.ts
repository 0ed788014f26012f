import { byId } from './dom.js'

/** Tells people, and screen readers, what is going on. */
export function say(message: string, kind: 'info' | 'warning' | 'error' = 'info'): void {
  const status = byId('status')
  status.setAttribute('role', kind === 'error' ? 'alert' : 'status')
  status.textContent = message
  status.dataset['kind'] = kind
}

/** Runs what a control asks for; what fails is said, and the control is not to be used meanwhile. */
export async function guarded(control: HTMLButtonElement | HTMLInputElement | null, work: () => Promise<void>) {
  const focused = control !== null && document.activeElement === control
  if (control) control.disabled = true
  document.body.setAttribute('aria-busy', 'true')
  try {
    await work()
  } catch (error) {
    say(error instanceof Error ? error.message : String(error), 'error')
  } finally {
    if (control) control.disabled = false
    // What is disabled loses the focus.
    if (focused && document.activeElement === document.body) control.focus()
    document.body.removeAttribute('aria-busy')
  }
}
