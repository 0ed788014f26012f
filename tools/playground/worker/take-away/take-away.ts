import type { ContenderName, TakeAway, TakenFile } from '../../protocol.js'
import { toDataFiles } from './data-files.js'
import { writeProject } from './project.js'
import { toProgram, toRecipe } from './recipe.js'
import { toSnippet } from './snippet.js'
import type { TrainedRun } from './trained-run.js'

export { readProject } from './project.js'

/** Writes something to take away from a run. */
export async function takeAway(run: TrainedRun, what: TakeAway, contender: ContenderName): Promise<TakenFile> {
  const text = (name: string, content: string): TakenFile => ({ name, content: new Blob([content]) })
  switch (what) {
    case 'web':
      return text('predict-in-page.mjs', await toSnippet(run, contender, 'web'))
    case 'node':
      return text('predict.mjs', await toSnippet(run, contender, 'node'))
    case 'python':
      return text('predict.py', await toSnippet(run, contender, 'python'))
    case 'recipe':
    case 'program': {
      const recipe = toRecipe(run, contender, (await toDataFiles(run)).source)
      if (what === 'recipe') return text(`recipe-${contender}.json`, `${JSON.stringify(recipe, null, 2)}\n`)
      return text(`train-${contender}.mts`, toProgram(run, contender, recipe))
    }
    case 'demo': {
      const { writeDemo } = await import('./demo.js')
      return { name: 'demo.html', content: await writeDemo(run, contender) }
    }
    case 'project':
      return { name: 'project.zip', content: await writeProject(run) }
  }
}
