import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { levelLine, plotCurves, plotLandscape, plotSpectrum, type Segment } from '../../src/node/plot.js'

const lengthOf = (pieces: readonly Segment[]) =>
  pieces.reduce((sum, [[x0, y0], [x1, y1]]) => sum + Math.hypot(x1 - x0, y1 - y0), 0)

const range = (n: number, from: number, to: number) =>
  Array.from({ length: n }, (_, i) => from + ((to - from) * i) / (n - 1))

test('contour lines > cone > are closed circles', () => {
  const axis = range(41, -2, 2)
  const z = axis.map((y) => axis.map((x) => Math.hypot(x, y)))
  const pieces = levelLine(axis, axis, z, 1.27)
  for (const [x, y] of pieces.flat()) expect(Math.hypot(x, y)).toBeCloseTo(1.27, 2)
  expect(lengthOf(pieces)).toBeCloseTo(2 * Math.PI * 1.27, 1)
  // Every end is the beginning of another piece: the line is closed.
  const ends = new Map<string, number>()
  for (const [x, y] of pieces.flat()) {
    const key = `${x.toFixed(9)} ${y.toFixed(9)}`
    ends.set(key, (ends.get(key) ?? 0) + 1)
  }
  expect([...ends.values()].every((times) => times === 2)).toBe(true)
})

test('contour lines > saddle > do not cross', () => {
  // Corners 1, 0 / 0, 1, of which the middle is 1/2: for 0.4 it belongs to the high corners, for 0.6 to the low ones.
  const z = [
    [1, 0],
    [0, 1],
  ]
  const through = (level: number) => levelLine([0, 1], [0, 1], z, level)
  for (const level of [0.4, 0.6]) expect(through(level)).toHaveLength(2)
  const around = (pieces: Segment[], [x, y]: readonly [number, number]) =>
    pieces.some((piece) => piece.every(([a, b]) => Math.abs(a - x) + Math.abs(b - y) < 0.5))
  for (const low of [
    [1, 0],
    [0, 1],
  ] as const)
    expect(around(through(0.4), low)).toBe(true)
  for (const high of [
    [0, 0],
    [1, 1],
  ] as const)
    expect(around(through(0.6), high)).toBe(true)
})

test('contour lines > NaN values, or a level out of range > draw nothing', () => {
  const z = [
    [0, Number.NaN, 0],
    [1, 1, Number.POSITIVE_INFINITY],
  ]
  expect(levelLine([0, 1, 2], [0, 1], z, 0.5)).toEqual([])
  expect(
    levelLine(
      [0, 1],
      [0, 1],
      [
        [0, 0],
        [0, 0],
      ],
      1,
    ),
  ).toEqual([])
})

const svg = /^<svg width="(\d+)" height="(\d+)" [^>]*xmlns="http:\/\/www\.w3\.org\/2000\/svg"/

test('curves > have names, titles and bands, with gaps and logarithmic axes', async () => {
  const points = range(20, 0, 5).map((x) => [x, x === 0 ? 0 : Math.exp(-x)] as const)
  const text = await plotCurves(
    [
      { name: 'loss', points, errors: points.map(() => 0.01) },
      { name: 'accuracy', points: [...points, [6, Number.NaN]] },
    ],
    { title: 'A run', x: 'step', y: 'value', logY: true, width: 640, height: 400 },
  )
  expect(svg.exec(text)?.slice(1)).toEqual(['640', '400'])
  for (const label of ['A run', 'step', 'value', 'loss', 'accuracy']) expect(text).toContain(`>${label}</text>`)
  expect(text).toContain('fill-opacity="0.2"')
  expect(text).not.toMatch(/NaN|Infinity/)
  expect(await plotCurves([{ name: 'one', points }])).toContain('>one</text>')
})

test('curves > long names > are right of the plot; dashed curves are dashed', async () => {
  const points = range(9, 0, 8).map((t) => [t, t] as const)
  const names = ['a rather long name, to be read in full', 'another name that is as long', 'and one more of the kind']
  const text = await plotCurves(
    names.map((name, i) => ({ name, points, dashed: i === 1 })),
    { title: 'A run', width: 900 },
  )
  const lefts = names.map((name) =>
    Number(new RegExp(`translate\\(([\\d.]+) [\\d.]+\\)"[^>]*>${name}<`).exec(text)?.[1]),
  )
  // The path of a curve goes to the right edge of the plot.
  const [, right] = /<path d="M75 [\d.]+[^"]*L([\d.]+) [\d.]+" fill="none"[^>]* stroke="#0072b2"/.exec(text)!
  for (const left of lefts) expect(left).toBeGreaterThan(Number(right))
  expect(text.match(/stroke="#d55e00"[^>]*stroke-dasharray/g)).not.toBeNull()
  expect(text).not.toMatch(/stroke="#0072b2"[^>]*stroke-dasharray/)
})

test('spectrum > shows the density over powers of ten, and one mark per eigenvalue', async () => {
  const grid = range(200, -1, 11)
  const density = grid.map((t) => Math.exp(-t * t * 20) + 0.01 * Math.exp(-((t - 10) ** 2) * 20))
  const found = { grid, density, errors: density.map((d) => d / 5) }
  const [marked, plain] = [await plotSpectrum(found, [10, 9.9, 0.2]), await plotSpectrum(found)]
  const triangles = (text: string) => text.match(/fill="#d55e00"/g)?.length ?? 0
  // The legend has one too.
  expect([triangles(marked), triangles(plain)]).toEqual([4, 0])
  expect(marked).toContain('>eigenvalue</text>')
  expect(marked).not.toMatch(/NaN|Infinity/)
})

test('landscape > has one cell per finite loss, contour lines, and a color scale', async () => {
  const axis = range(9, -1, 1)
  const losses = axis.map((b) => axis.map((a) => 0.1 + a * a + 2 * b * b))
  losses[0]![0] = Number.POSITIVE_INFINITY
  losses[8]![8] = Number.NaN
  const text = await plotLandscape({ axis, losses }, { title: 'Loss', levels: 5 })
  const cells = text.match(/<path d="M[\d.]+ [\d.]+l[\d.]+ 0l0 [\d.]+l-[\d.]+ 0Z" fill="rgb/g) ?? []
  expect(cells).toHaveLength(79)
  expect(text).toContain('>0.1</text>')
  expect(text).toContain('stroke="#fff"')
  expect(text).not.toMatch(/NaN|Infinity/)
  // All alike, and losses below 0.
  const flat = await plotLandscape({ axis: [-1, 0, 1], losses: axis.slice(0, 3).map(() => [-1, -1, -1]) })
  expect(flat).not.toMatch(/NaN|Infinity/)
})

test('plots > without echarts > error with the install command', () => {
  const plot = new URL('../../dist/node/plot.js', import.meta.url).href
  const script = `import Module from 'node:module'
    const load = Module._load
    Module._load = (name, ...rest) => {
      if (name !== 'echarts') return load(name, ...rest)
      throw Object.assign(new Error("Cannot find module 'echarts'"), { code: 'MODULE_NOT_FOUND' })
    }
    const { plotCurves } = await import(${JSON.stringify(plot)})
    await plotCurves([]).catch(({ code, message }) => console.log(JSON.stringify({ code, message })))`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
  })
  expect(JSON.parse(stdout)).toMatchObject({
    code: 'runtime',
    message: expect.stringContaining('npm install echarts'),
  })
})
