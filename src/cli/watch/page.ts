import { quotePath } from '../format.js'
import { escapeHtml } from '../report/escape-html.js'
import { writePage, writeSections } from '../report/write-report.js'
import type { StoredRun } from '../runs/read-run.js'

/** The page that follows runs. @param nonce allows its script; @param token of the requests that the script sends */
export const writeWatchPage = (nonce: string, token: string): string =>
  writePage(
    'Training runs',
    `<p class="note" id="state">loading</p><div id="runs"></div>
<script nonce="${nonce}">${script(token)}</script>`,
    `default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-${nonce}'; connect-src 'self'`,
    `<style>button { font: inherit; font-size: 13px; margin-left: 6px } pre { overflow-x: auto; font-size: 12px }
label, summary { cursor: pointer } .run { padding: 6px 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere }</style>
`,
  )

const script = (token: string): string => `
const token = ${JSON.stringify(token)}
const hidden = new Set(), open = new Set()
const state = document.getElementById('state'), runs = document.getElementById('runs')
const headers = { 'x-onnx-ire-token': token }
let loading = false, again = false
async function load() {
  if (loading) { again = true; return }
  loading = true
  try {
    const hide = [...hidden].map((run) => 'hide=' + encodeURIComponent(run)).join('&')
    const answer = await fetch('/runs?' + hide, { headers })
    // An error is plain text.
    runs[answer.ok ? 'innerHTML' : 'textContent'] = await answer.text()
    for (const each of runs.querySelectorAll('details')) each.open = open.has(each.dataset.run)
    state.textContent = answer.ok ? 'following; ' + new Date().toLocaleTimeString() : 'error'
  } finally { loading = false }
  if (again) { again = false; load() }
}
runs.addEventListener('toggle', (event) => {
  const { run } = event.target.dataset
  if (event.target.open) open.add(run); else open.delete(run)
}, true)
runs.addEventListener('change', (event) => {
  const { run } = event.target.dataset
  if (event.target.checked) hidden.delete(run); else hidden.add(run)
  load()
})
runs.addEventListener('click', async (event) => {
  const { run, request } = event.target.dataset
  if (!request) return
  event.target.disabled = true
  const answer = await fetch('/request', { method: 'POST', headers, body: JSON.stringify({ run, request }) })
  state.textContent = await answer.text()
})
const events = new EventSource('/events?token=' + token)
events.onmessage = load
events.onerror = () => { state.textContent = 'onnx-ire watch has ended, or the connection is lost' }
`

/** Writes the runs of the page: controls of all, and the report about those that are not hidden. */
export async function writeRuns(runs: readonly StoredRun[], hidden: ReadonlySet<string>): Promise<string> {
  const shown = runs.filter(({ path }) => !hidden.has(path))
  const controls = runs.map((run) => writeControls(run, !hidden.has(run.path)))
  return `${controls.join('\n')}\n${shown.length === 0 ? '' : await writeSections(shown)}`
}

function writeControls({ path, name, status, recipe, holder }: StoredRun, isShown: boolean): string {
  const [run, quoted] = [escapeHtml(path), escapeHtml(quotePath(path))]
  const button = (request: string, text: string) =>
    `<button data-run="${run}" data-request="${request}">${text}</button>`
  const buttons = status === 'running' ? button('save', 'save a checkpoint') + button('stop', 'save and stop') : ''
  const process = holder ? `, process ${holder.process} on ${escapeHtml(holder.host)}` : ''
  const commands = [
    ...(status === 'stopped' ? [`onnx-ire train ${quoted}/recipe.json --resume`] : []),
    `onnx-ire train ${quoted}/recipe.json --out ${quoted}-again`,
    `onnx-ire export ${quoted} -o model.onnx`,
  ]
  return `<div class="run"><label><input type="checkbox" data-run="${run}"${isShown ? ' checked' : ''}> ${escapeHtml(name)}</label>:
${status}${process}${buttons}
<details data-run="${run}"><summary>commands and recipe</summary><pre>${commands.join('\n')}</pre>
<pre>${escapeHtml(JSON.stringify(recipe, null, 2))}</pre></details></div>`
}
