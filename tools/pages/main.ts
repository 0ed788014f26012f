import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { serve } from '../../test/web/server.js'
import { someOf } from '../bench/options.js'
import { type Moment, stories, timeStories } from './stories.js'
import { checkWorkflow, runWorkflow } from './workflow.js'

/**
 * Executes .github/workflows/pages.yml as far as that is possible without GitHub: checks it with actionlint, runs its
 * commands in a fresh clone of the last commit, and serves the folder that it publishes as GitHub Pages does, below a
 * path and without headers. In Chromium the three stories are started there and timed, in an empty profile and again.
 */
const command = new Command('pages')
  .option('--folder <path>', 'serve this folder, and run nothing of the workflow')
  .option('--story <list>', `stories that are timed, of ${stories.join(', ')}`, someOf(stories), stories)
  .parse()
const { folder: given, story: timed } = command.opts<{ readonly folder?: string; readonly story: readonly string[] }>()
const temporary = mkdtempSync(join(tmpdir(), 'onnx-ire-pages-'))
try {
  let folder = given
  if (folder === undefined) {
    const tools = join(temporary, 'tools')
    mkdirSync(tools)
    const problems = await checkWorkflow(tools)
    console.log(problems.length === 0 ? 'actionlint finds nothing in the workflow' : problems.join('\n'))
    if (problems.length > 0) process.exitCode = 1
    folder = runWorkflow(join(temporary, 'clone'))
  }
  const server = await serve(folder, new Map(), {}, '/repository/')
  try {
    const load = loadavg()[0]!.toFixed(1)
    console.log(
      `Served at ${server.url}, ${cpus().length} cores, load ${load}. Seconds since the click (of processors):`,
    )
    const text = ({ clock, cpu }: Moment) => `${clock.toFixed(1)} (${cpu.toFixed(1)})`
    for await (const { story, again, answer, step, end } of timeStories(server.url, timed)) {
      const note = story === 'camera' ? '; steps since pressing Train' : ''
      console.log(
        `${story}${again ? ', again' : ''}: first answer ${text(answer)}, first step ${text(step)}, end ${text(end)}${note}`,
      )
    }
  } finally {
    await server.close()
  }
} finally {
  rmSync(temporary, { recursive: true, force: true, maxRetries: 5 })
}
