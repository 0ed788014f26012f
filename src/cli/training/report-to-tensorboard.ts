import { encodePng } from '../../node/trackers/encode-png.js'
import { tensorBoard } from '../../node/trackers/tensorboard.js'
import type { FitOptions } from '../../train/options.js'
import { track } from '../../train/track.js'
import type { Trainer } from '../../train/trainer.js'
import { isMatrix } from '../format.js'

/** Callbacks of `fit`, and the function that ends the run in TensorBoard. */
interface Reporting extends Required<Pick<FitOptions, 'onStep' | 'onEvaluate'>> {
  readonly finish: () => void
}

/**
 * Sends a run to TensorBoard: its settings as text, the numbers of every step, and at every evaluation the numbers, a
 * histogram of every trained tensor and the confusion matrix as an image.
 * @param settings the recipe or the plan of the run, by its name
 */
export function reportToTensorBoard(
  folder: string,
  trainer: Trainer,
  settings: Readonly<Record<string, object>>,
): Reporting {
  const board = tensorBoard(folder, { step: trainer.step })
  const { onStep, onEvaluate } = track(board)
  for (const [name, value] of Object.entries(settings))
    board.text(name, `\`\`\`json\n${JSON.stringify(value, null, 2)}\n\`\`\``, trainer.step)
  return {
    onStep,
    async onEvaluate(metrics) {
      await onEvaluate(metrics)
      const { step } = metrics
      for (const [name, array] of Object.entries(await trainer.parameters()))
        board.histogram(`tensor/${name}`, array, step)
      for (const [name, matrix] of Object.entries(metrics.validation ?? {}))
        if (/(^|\/)confusion$/.test(name) && isMatrix(matrix))
          board.image(`validation/${name}`, drawMatrix(matrix), step)
    },
    finish: () => board.finish(),
  }
}

/** Draws a confusion matrix: the bluer a cell, the larger its share of the true class, which is its row. */
export function drawMatrix(matrix: readonly (readonly number[])[]) {
  const scale = Math.max(1, Math.floor(256 / matrix.length))
  const size = scale * matrix.length
  const rgb = new Uint8Array(3 * size * size)
  const shares = matrix.map((row) => {
    const total = row.reduce((sum, count) => sum + count, 0)
    return row.map((count) => (total === 0 ? 0 : count / total))
  })
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const share = shares[Math.floor(y / scale)]![Math.floor(x / scale)]!
      const color = [0, 114, 178].map((full) => Math.round(255 + share * (full - 255)))
      rgb.set(color, 3 * (y * size + x))
    }
  return { width: size, height: size, data: encodePng(size, size, rgb) }
}
