import penguins from '../models/penguins.csv?url'
import type { DataPanel } from './data-panel.js'
import { byId } from './dom.js'
import type { ModelPanel } from './model-panel.js'
import { runGuarded, showStatus } from './status.js'
import type { TrainingPanel } from './training-panel.js'
import type { TryPanel } from './try-panel.js'
import { showView } from './view.js'

interface Panels {
  readonly model: ModelPanel
  readonly data: DataPanel
  readonly training: TrainingPanel
  readonly tried: TryPanel
  /** Hides the open model: a network is created for the next table. */
  readonly closeModel: () => void
}

/** Side of the pictures that the general model reads: drawings have less detail than photos. */
const sides = { drawings: 64, photos: 128 } as const

/** The stories of the start page, each of which starts by one click. */
export function tellStories({ model, data, training, tried, closeModel }: Panels): void {
  const tell = (id: string, story: () => Promise<void>) => {
    const button = byId<HTMLButtonElement>(id)
    button.addEventListener('click', () => runGuarded(button, story))
  }
  const openCards = async (side: number, source: string, names: readonly string[]) => {
    showStatus('Reading the model ...')
    await model.openGeneral(side)
    data.choose(source)
    data.cards.reset(names)
  }
  tell('story-digits', async () => {
    showStatus('Reading the model ...')
    // The digits are there before the model, and the answers of the untrained model before training begins.
    data.choose('draw')
    data.cards.reset(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
    showView('work')
    const showDigits = async () => {
      const { readDigits } = await import('./digits.js')
      const digits = await readDigits()
      for (const [digit, pictures] of digits.entries()) data.cards.fill(digit, pictures.slice(0, -1))
      return digits
    }
    const [digits] = await Promise.all([showDigits(), model.openGeneral(sides.drawings)])
    await tried.choose('draw')
    showTrying()
    await tried.showDrawing(digits[4]!.at(-1)!)
    await training.train({ isExample: true })
    showStatus('Done: now draw a digit under "Try it".')
  })
  tell('story-draw', async () => {
    await openCards(sides.drawings, 'draw', ['Circle', 'Star'])
    showStatus('Draw a circle, and add it to its class. Five of each will do.')
    await tried.choose('draw')
  })
  tell('story-camera', async () => {
    await openCards(sides.photos, 'camera', ['Class 1', 'Class 2'])
    await tried.choose('camera')
    await data.onCamera()
    showStatus('Show something to the camera, and hold the button of a class to record it.')
  })
  tell('story-photos', async () => {
    await openCards(sides.photos, 'photos', ['Class 1', 'Class 2'])
    await tried.choose('photo')
    showStatus('Add photos to each class, or drop them on it.')
  })
  tell('story-table', async () => {
    showStatus('Reading the table ...')
    const file = new File([await (await fetch(penguins)).blob()], 'penguins.csv', { type: 'text/csv' })
    closeModel()
    await data.previewTable(file, 'species')
    await data.useTable()
    showTrying()
    await training.train({ isExample: true })
    showStatus('Done: now move the sliders under "Try it".')
  })
  tell('story-csv', async () => {
    closeModel()
    showView('work')
    data.choose('csv')
    data.closeTable()
    showStatus('Choose a CSV file.')
  })
}

/** Scrolls to the trying section where it is below the fold, as on phones. */
const showTrying = (): void => byId('try-section').scrollIntoView({ block: 'nearest' })
