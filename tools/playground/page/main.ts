import type { Reopened } from '../protocol.js'
import { Camera } from './camera.js'
import { startWorker } from './client.js'
import { DataPanel } from './data-panel.js'
import { byId, createFileInput } from './dom.js'
import { FinishedModels } from './finished-models.js'
import { Keeping } from './keeping.js'
import { KeptExamples, showChoice } from './kept-examples.js'
import { isGeneral, ModelPanel } from './model-panel.js'
import { offerResume } from './offer-resume.js'
import { installOffline, storeRuntime } from './offline.js'
import { applySettingsLink, offerSettingsLink } from './settings-link.js'
import { runGuarded, showStatus } from './status.js'
import { tellStories } from './stories.js'
import { TakeAwayPanel } from './take-away.js'
import { TrainingPanel } from './training-panel.js'
import { TryPanel } from './try-panel.js'
import { showView } from './view.js'

const calls = startWorker(
  (event) => {
    if (event.kind === 'begun' || event.kind === 'kept' || event.kind === 'ended')
      keeping.onEvent(event, training.isExample)
    else training.onEvent(event)
    if (event.kind === 'runtime') void storeRuntime(event.provider)
    if (event.kind === 'begun') {
      examples?.cancel()
      training.onBegun()
      taken.offer(false)
    } else if (event.kind === 'ended') {
      if (event.run === null) examples?.onChange()
      taken.offer(event.run !== null)
      void finished.list()
    }
  },
  (message) => showStatus(message, 'error'),
)
const keeping = new Keeping(calls)
const camera = new Camera([byId<HTMLVideoElement>('video'), byId<HTMLVideoElement>('try-video')], () => {
  void data.onCamera()
  showStatus('The webcam has ended: connect it, or allow it again, and start it.', 'warning')
})
const tried = new TryPanel(
  calls,
  camera,
  () => data.onCamera(),
  () => keeping.onDownload(),
)
const training = new TrainingPanel(calls, tried, () => data.prepare())
const data: DataPanel = new DataPanel(
  calls,
  camera,
  () => {
    const outline = data.outline
    training.onData(outline)
    tried.onData(outline?.classes ?? [], outline?.columns ?? [])
    examples?.onChange()
  },
  async (choice) => {
    if (kind !== 'table' && opened === 'table') return
    await model.open(await calls.createTableModel(choice))
  },
)
/** Shows or hides what belongs to the open model. */
function showModelParts(shown: boolean): void {
  for (const id of ['model-section', 'try-section']) byId(id).hidden = !shown
  if (!shown) for (const id of ['curves-section', 'take-away-section']) byId(id).hidden = true
}
/** Kind of the open model, and of its input. */
let kind: 'general' | 'table' | 'file' | undefined
let opened: 'image' | 'table' | undefined
const model: ModelPanel = new ModelPanel(calls, (summary, isOpened) => {
  kind = isGeneral(summary) ? 'general' : summary.name === 'table-network.onnx' ? 'table' : 'file'
  opened = summary.form.kind
  training.onModel(summary, kind, isOpened)
  if (isOpened) {
    tried.onModel(summary)
    taken.offer(false)
    showModelParts(true)
  }
  data.onModel(summary)
  showView('work')
})
const examples: KeptExamples | undefined = new KeptExamples(calls, data)
data.cards.reset(['Class 1', 'Class 2'])
tellStories({
  model,
  data,
  training,
  tried,
  closeModel: () => {
    opened = undefined
    showModelParts(false)
  },
})
byId('home').addEventListener('click', () => {
  camera.stop()
  void data.onCamera()
  showView('start')
  showStatus('Choose a story, or open a model of your own.')
})
// An error is shown when a story begins.
const warmUp = () => void calls.warmUp().catch(() => {})
// The files are here, or a story is about to be chosen.
void installOffline().then(warmUp)
for (const kind of ['pointerover', 'focusin'] as const) byId('start').addEventListener(kind, warmUp, { once: true })
const open = (reopened: Reopened) => {
  model.show(reopened.model)
  showChoice(data, reopened.choice)
  if (!reopened.training) return
  data.show(reopened.training.data)
  training.show(reopened.training.settings)
  training.showHistory(reopened.training.history)
}
/** Opens a run with its tuned models, which is stored or from a project file. */
const openFinished = (run: string | null, reopened: Reopened) => {
  open(reopened)
  keeping.onOpen(run)
  tried.onStart(reopened.training?.data.classes ?? [])
  tried.onWeights(true)
  taken.offer(true)
  showStatus('The tuned models are open: try them, download them, or train again.')
}
const taken = new TakeAwayPanel(calls, () => keeping.onDownload())
offerSettingsLink()
const finished = new FinishedModels(calls, {
  onOpen: openFinished,
  onDownload: (run) => keeping.onDownload(run),
  onDelete: (run) => keeping.onDelete(run),
})
void finished.list()
const project = createFileInput('project-file')
project.addEventListener('change', () =>
  runGuarded(project, async () => {
    const [file] = project.files ?? []
    if (!file) return
    showStatus('Reading the project ...')
    openFinished(null, await calls.openProject(file))
  }),
)
if (applySettingsLink()) showStatus('The settings of the link are chosen. Choose a story, or open a model of your own.')
void offerResume(calls, async (reopened) => {
  open(reopened)
  if (reopened.training) await training.train({ resume: true })
  else showStatus('Your examples are here again: add more, or train.')
})
