import { execFileSync, spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { binary, createPackedProject, type PackedProject } from '../packed-project.js'
import { numbersIn, withSettings } from './program.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = join(root, 'docs/examples')

interface Example {
  /** Numbers in place of its own, so that it ends in seconds. */
  readonly settings: Readonly<Record<string, number>>
  readonly check: (printed: string) => void
  readonly writes: readonly string[]
}

/** Packages of which a program reads files. */
const packagesRead = (main: string): Set<string> =>
  new Set([...main.matchAll(/node_modules\/((?:@[^/]+\/)?[^/']+)/g)].map(([, name]) => name!))

const examples: Readonly<Record<string, Example>> = {
  'image-classes': {
    settings: { perFolder: 14, epochs: 6 },
    check(printed) {
      const losses = numbersIn(printed, /^epoch \d: loss ([\d.]+)/gm)
      expect(losses.at(-1)).toBeLessThan(losses[0]! * 0.8)
      expect(printed.match(/^new-\w+\.png: (circle|square|star)$/gm)).toHaveLength(3)
    },
    writes: ['photos.onnx', 'photos.classes.json'],
  },
  tabular: {
    settings: { rows: 600, epochs: 20 },
    check(printed) {
      expect(numbersIn(printed, /R² ([\d.]+)/g).at(-1)).toBeGreaterThan(0.8)
      const [delft, cork] = numbersIn(printed, /^price: (\d+)$/gm)
      expect(delft).toBeGreaterThan(cork! * 1.5)
    },
    writes: ['price.onnx', 'price.statistics.json'],
  },
  'text-classifier': {
    settings: { messages: 300, epochs: 8 },
    check(printed) {
      expect(numbersIn(printed, /validation accuracy ([\d.]+)/g).at(-1)).toBeGreaterThan(0.9)
      expect(printed).toContain('shipping: The delivery is damaged')
    },
    writes: ['teams.onnx', 'teams.json'],
  },
  embeddings: {
    settings: { pairs: 400, epochs: 5 },
    check(printed) {
      expect(numbersIn(printed, /first of 32 ([\d.]+)/g).at(-1)).toBeGreaterThan(0.5)
      expect(printed).toContain('-> On a laptop all receipts are under billing.')
    },
    writes: ['search.onnx', 'search.vocabulary.json'],
  },
  'chat-adapter': {
    settings: { conversations: 8, epochs: 24, lr: 0.01 },
    check(printed) {
      const [before, after] = numbersIn(printed, /^(?:before|after): perplexity ([\d.]+)/gm)
      expect(after).toBeLessThan(before! / 10)
      const [, base, tuned] = /^base: (.*)\ntuned: (.*)$/ms.exec(printed)!
      expect(tuned).not.toBe(base)
    },
    writes: ['adapter/adapter_model.safetensors', 'tuned/onnx/model_q4.onnx'],
  },
  'ocr-ctc': {
    settings: { lines: 320, epochs: 3 },
    check(printed) {
      const losses = numbersIn(printed, /^epoch \d+: loss ([\d.]+)/gm)
      expect(losses).toHaveLength(3)
      expect(losses.at(-1)).toBeLessThan(losses[0]! * 0.8)
      expect(printed).toMatch(/^\d{3,5} is read as \d*$/m)
    },
    writes: ['reader.onnx'],
  },
  segmentation: {
    settings: { images: 24, epochs: 5 },
    check(printed) {
      expect(numbersIn(printed, /mean IoU ([\d.]+)/g).at(-1)).toBeGreaterThan(0.6)
      expect(numbersIn(printed, /^new-mask\.png: (\d+) pixels/gm)[0]).toBeGreaterThan(50)
    },
    writes: ['unet.onnx', 'new-mask.png'],
  },
  'wake-word': {
    settings: { recordings: 40, epochs: 10 },
    check(printed) {
      expect(numbersIn(printed, /F1 ([\d.]+)/g).at(-1)).toBeGreaterThan(0.8)
      expect(printed).toMatch(/^the word is at (1\.75|2|2\.25) s$/m)
    },
    writes: ['wake.onnx', 'sounds/word/0.wav'],
  },
}

let project: PackedProject

// All examples share one installation, in the folder above theirs.
beforeAll(async () => {
  project = await createPackedProject('onnxruntime-node', 'sharp', 'tsx', '@types/node')
  mkdirSync(join(project.folder, 'node_modules/.bin'))
  symlinkSync(binary('tsx'), join(project.folder, 'node_modules/.bin/tsx'))
  for (const [example, { settings }] of Object.entries(examples)) {
    cpSync(join(folder, example), join(project.folder, example), { recursive: true })
    const main = readFileSync(join(folder, example, 'main.ts'), 'utf8')
    project.write(`${example}/main.ts`, withSettings(main, settings))
    // Files of packages are read by their paths below the example.
    for (const name of packagesRead(main)) {
      const path = join(project.folder, example, 'node_modules', name)
      mkdirSync(dirname(path), { recursive: true })
      symlinkSync(join(root, 'node_modules', name), path)
    }
  }
  // A tiny model takes the place of the download.
  const model = join(project.folder, 'chat-adapter/SmolLM2-135M-Instruct')
  cpSync(join(root, 'test/language/golden/qwen2-genai'), model, { recursive: true })
  renameSync(join(model, 'onnx/model_q4f16.onnx'), join(model, 'onnx/model_q4.onnx'))
}, 300_000)

afterAll(() => project.remove())

it('are all tested, and depend on what they import', () => {
  const found = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  // test/web/bundlers.test.ts tests the web app.
  expect(found.map(({ name }) => name).sort()).toEqual([...Object.keys(examples), 'web-app'].sort())
  const { version, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  for (const name of Object.keys(examples)) {
    const { dependencies, scripts } = JSON.parse(readFileSync(join(folder, name, 'package.json'), 'utf8'))
    expect(scripts).toEqual({ start: 'tsx main.ts' })
    const main = readFileSync(join(folder, name, 'main.ts'), 'utf8')
    const imported = [...main.matchAll(/from '((?!node:)[^/']+)/g)].map(([, each]) => each)
    const needed = new Set([...imported, ...packagesRead(main), 'onnxruntime-node', 'tsx'])
    expect(Object.keys(dependencies).sort(), name).toEqual([...needed].sort())
    expect(dependencies['onnx-ire']).toBe(`^${version}`)
    for (const each of needed)
      if (each !== 'onnx-ire')
        expect(dependencies[each!].replace('^', '')).toBe(devDependencies[each!].replace('^', ''))
  }
})

it('compile in strict mode', () => {
  const compilerOptions = {
    ...{ module: 'nodenext', target: 'es2023', strict: true, noUncheckedIndexedAccess: true, skipLibCheck: true },
    ...{ exactOptionalPropertyTypes: true, noEmit: true, types: ['node'] },
  }
  project.write('tsconfig.json', JSON.stringify({ compilerOptions, include: ['*/main.ts'] }))
  project.run(binary('tsc'), '-p', '.')
})

for (const [i, [name, { check, writes }]] of Object.entries(examples).entries())
  it(`${name} starts`, () => {
    // Their scripts are the same, as the test above checks; npm takes half a second of CPU time.
    const [program, ...args] = i === 0 ? ['npm', 'start', '--silent'] : [binary('tsx'), 'main.ts']
    check(execFileSync(program!, args, { cwd: join(project.folder, name), encoding: 'utf8' }))
    for (const file of writes) expect(existsSync(join(project.folder, name, file)), file).toBe(true)
  })

it('wake-word > reads recordings with other parts, and refuses those of another form', () => {
  const folder = join(project.folder, 'wake-word')
  const sound = join(folder, 'sounds/other/0.wav')
  const plain = readFileSync(sound)
  const start = () => spawnSync(binary('tsx'), ['main.ts'], { cwd: folder, encoding: 'utf8' })
  const printed = start().stdout
  expect(printed).toContain('the word is at')
  // A list of an odd size before the samples, as programs for recording write it, and a file that is no recording.
  const list = Buffer.from('LIST\x03\0\0\0abc\0', 'latin1')
  writeFileSync(sound, Buffer.concat([plain.subarray(0, 36), list, plain.subarray(36)]))
  writeFileSync(join(folder, 'sounds/other/.DS_Store'), '')
  expect(start().stdout).toBe(printed)
  const stereo = Buffer.from(plain)
  stereo.writeUInt16LE(2, 22)
  for (const other of [stereo, Buffer.from('ID3'), Buffer.alloc(0)]) {
    writeFileSync(sound, other)
    expect(start().stderr).toContain('Error: sounds/other/0.wav: convert it: ffmpeg -i recording -ac 1 -ar 8000')
  }
})
