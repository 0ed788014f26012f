import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Writes a run folder without training: a recipe and a log of four steps and two evaluations, or of `epochs: 1`. */
export async function writeRun(
  folder: string,
  {
    recipe,
    loss,
    accuracy,
    tensors = false,
    epochs = 2,
  }: { recipe: object; loss: number; accuracy: number; tensors?: boolean; epochs?: 1 | 2 },
): Promise<string> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'recipe.json'), JSON.stringify(recipe))
  const step = (step: number) => ({
    ...{ kind: 'step', step, epoch: Math.floor((step - 1) / 2), loss: loss + 1 / step, lr: 0.01 / step },
    ...{ gradientNorm: 2 / step, kappa: 1, refreshed: step === 1, flatShare: 0.8, seconds: 0.5 },
  })
  const measured = (step: number) => ({
    ...{ kind: 'tensors', step },
    tensors: Object.fromEntries(
      ['head.weight', 'head.bias'].map((name, i) => [
        name,
        {
          ...{ gradientNorm: 1 / step + i, norm: 3, updateRatio: 0.001 * (i + 1), flatShare: 0.7 + i / 10 },
          ...{ maskOverlap: 0.9, enhancement: 0.4 },
        },
      ]),
    ),
  })
  const epoch = (epoch: number, better: number) => ({
    ...{ kind: 'epoch', loss: loss - better, count: 20, accuracy: 0.5, epoch, step: 2 * epoch + 2 },
    validation: {
      loss: loss + 0.1 - better,
      count: 10,
      accuracy,
      confusion: [
        [4, 1],
        [2, 3],
      ],
    },
    ...{
      lr: 0.01,
      gradientNorm: 1,
      flatShare: 0.8,
      secondsPerStep: 0.5,
      memory: 2e8,
      time: '2026-01-01T00:00:00.000Z',
    },
  })
  const lines = [step(1), ...(tensors ? [measured(1)] : []), step(2), epoch(0, 0.2), step(3)]
  const rest = [...(tensors ? [measured(3)] : []), step(4), epoch(1, 0)]
  const text = [...lines, ...(epochs === 1 ? [] : rest)].map((line) => `${JSON.stringify(line)}\n`).join('')
  // A crash has cut the last line.
  await writeFile(join(folder, 'metrics.jsonl'), `${text}{"kind":"step","step":5,"lo`)
  return folder
}
