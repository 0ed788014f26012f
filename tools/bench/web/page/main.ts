import type { Ready, Unable } from '../../protocol.js'
import { type Problem, problemOf, type Read } from '../../read.js'

/** A contender in a page: training that is ready to take steps, each of which returns its loss. */
export interface Training extends Ready {
  step(): Promise<number>
}

type Start = (read: Read, backend: string) => Promise<Training>

/** Libraries, of which a page loads only one. */
const libraries: Readonly<Record<string, () => Promise<{ readonly start: Start }>>> = {
  ours: () => import('./ours.js'),
  tfjs: () => import('../../peers/tfjs-page.mjs'),
  jax: () => import('../../peers/jax-js-page.mjs'),
}

/** In the order of `begin`; a page that compares two of them has more than one. */
const trainings: Training[] = []

/** Prepares training on the problem in `folder`, on the first of the backends that can train it. */
async function begin(library: string, folder: string, backends: readonly string[]): Promise<Ready | Unable> {
  const [problem, bytes] = await Promise.all([
    fetch(`${folder}/problem.json`).then((answer) => answer.json() as Promise<Problem>),
    fetch(`${folder}/tensors.bin`).then((answer) => answer.arrayBuffer()),
  ])
  const { start } = await libraries[library]!()
  const reasons: string[] = []
  for (const backend of backends)
    try {
      const training = await start(
        problemOf(problem, (offset, length) => bytes.slice(offset, offset + length)),
        backend,
      )
      trainings.push(training)
      return { about: training.about, parameters: training.parameters }
    } catch (error) {
      reasons.push(
        `${backend}: ${String((error as Error).message)
          .split('\n')[0]!
          .slice(0, 160)}`,
      )
    }
  return { unable: reasons.join('; ') }
}

/** Runs steps of the training that was prepared as number `index`, from 0. */
async function turn(index: number, steps: number) {
  const losses: number[] = []
  const started = performance.now()
  while (losses.length < steps) losses.push(await trainings[index]!.step())
  return { losses, seconds: (performance.now() - started) / 1000 }
}

Object.assign(globalThis, { begin, turn })
