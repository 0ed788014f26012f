import { byId } from './dom.js'

/** Shows the start page, or the page with examples, training and results. */
export function showView(view: 'start' | 'work'): void {
  if (document.body.dataset['view'] === view) return
  document.body.dataset['view'] = view
  byId('start').hidden = view !== 'start'
  byId('work').hidden = view !== 'work'
  byId('home').hidden = view !== 'work'
  scrollTo(0, 0)
}
