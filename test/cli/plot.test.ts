import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { average } from '../../src/cli/report/draw-chart.js'
import { json, run } from './command.js'
import { writeRun } from './stored-runs.js'
import { recipe as plain } from './workspace.js'

// The recipes of both runs have the same paths.
const recipe = JSON.parse(JSON.stringify(plain).replaceAll(/:"(images|labels|model\.onnx)"/g, ':"/data/$1"'))

let root = ''
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'onnx-ire-plot-'))
  await writeRun(join(root, 'a'), { recipe: { ...recipe, about: '<script>' }, loss: 1, accuracy: 0.8, tensors: true })
  await writeRun(join(root, '<img src=x>'), { recipe: { ...recipe, seed: 8 }, loss: 2, accuracy: 0.6 })
})
afterAll(() => rm(root, { recursive: true }))

test('plot > one file with every chart, without scripts, addresses and unescaped names', async () => {
  await writeFile(join(root, 'a/classes.json'), '{"labels":["cats & dogs","birds"]}')
  await writeFile(join(root, 'a/flatness.json'), '{"trace":{"value":12.5},"density":{"grid":[1,2,3]}}')
  const output = join(root, 'report.html')
  expect(await json('plot', root, '-o', output)).toMatchObject({ runs: [join(root, '<img src=x>'), join(root, 'a')] })
  const html = await readFile(output, 'utf8')
  const titles = [...html.matchAll(/<figure><h3>(.*?)<\/h3>/g)].map(([, title]) => title)
  expect(titles).toEqual([
    ...['loss; dashed: held out', 'accuracy; dashed: held out', 'learning rate', 'gradient norm', 'seconds per step'],
    'memory of the process, MiB',
    'confusion on held-out data; rows: true classes, columns: predicted',
    ...['gradient norm per tensor', 'update ratio per tensor', 'flat share per tensor'],
    ...['overlap of the mask with the last one', 'share of the update that IRE adds'],
    'confusion on held-out data; rows: true classes, columns: predicted',
  ])
  expect(html).not.toMatch(/<script|<img|https?:\/\/(?!www\.w3\.org)/)
  expect(html).toContain("default-src 'none'")
  expect(html).not.toContain('no examples')
  await json('plot', join(root, 'a'), '--examples', '2', '-o', join(root, 'examples.html'))
  expect(await readFile(join(root, 'examples.html'), 'utf8')).toContain('no examples: the run is not finished')
  expect(html).toContain('cats &amp; dogs')
  // Held-out accuracies 0.8 and 0.6.
  expect(html).toContain('<td>held-out accuracy</td><td>70.00 %</td><td>± 127.06 %</td><td>14.14 %</td>')
  expect(html).toContain('trace.value')
  expect(html).not.toContain('density.grid')
  // Both losses of run a are lines of the color of the second run: 4 steps and 2 evaluations.
  expect(html.match(/stroke="var\(--c1\)"/g)!.length).toBeGreaterThanOrEqual(8)
})

test('plot > the output is a file of a run > invalid-option', async () => {
  const { code, stdout } = await run('plot', join(root, 'a'), '-o', join(root, 'a/metrics.jsonl'), '--json')
  expect([code, JSON.parse(stdout).error.code]).toEqual([1, 'invalid-option'])
})

test('lines of many steps are averaged', () => {
  const points = average(Array.from({ length: 10_001 }, (_, i) => [i, i % 2] as const))
  expect(points.length).toBeLessThanOrEqual(250)
  expect(points[0]).toEqual([20, expect.closeTo(0.5, 1)])
})
