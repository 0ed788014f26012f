import { describe, expect, it } from 'vitest'
import type { Adapter, AdapterLayer } from '../../src/adapter/adapter.js'
import { decodePeft, encodePeft, type FilesByName } from '../../src/adapter/peft.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { decodeSafetensors, encodeSafetensors } from '../../src/ir/safetensors.js'
import { type Tensor, tensor } from '../../src/ir/tensor.js'
import { errorWith, thrownMessage } from '../thrown.js'
import { readGoldenFolder, readGoldenPeft } from './golden.js'

const shapes = ({ layers }: Adapter) =>
  layers.map(({ module, kind, a, b, magnitude }) => [module, kind, a.dims, b.dims, magnitude?.dims])

const utf8 = (text: string) => new Uint8Array(Buffer.from(text))
const configOf = (files: FilesByName) => JSON.parse(Buffer.from(files['adapter_config.json']!).toString('utf8'))
const tensorsOf = (files: FilesByName) =>
  decodeSafetensors(files['adapter_model.safetensors']!, { checksum: false }).tensors

/** The folder `linear` with changed fields of its configuration. */
const withConfig = (changes: object): FilesByName => {
  const files = readGoldenFolder('linear')
  return { ...files, 'adapter_config.json': utf8(JSON.stringify({ ...configOf(files), ...changes })) }
}

/** The folder `linear` with changed tensors; undefined removes one. */
function withTensors(changes: Readonly<Record<string, Tensor | undefined>>): FilesByName {
  const files = readGoldenFolder('linear')
  const entries = Object.entries({ ...tensorsOf(files), ...changes }).filter(([, value]) => value)
  const tensors = Object.fromEntries(entries) as Record<string, Tensor>
  return { ...files, 'adapter_model.safetensors': encodeSafetensors({ tensors, metadata: {} }) }
}

const layer = (module: string, r: number, scale: number, more: Partial<AdapterLayer> = {}): AdapterLayer => ({
  module,
  kind: 'linear',
  a: tensorFrom('float32', [r, 4], Array(4 * r).fill(1)),
  b: tensorFrom('float32', [3, r], Array(3 * r).fill(2)),
  scale,
  ...more,
})

describe('a folder that PEFT wrote', () => {
  it('has linear layers', () => {
    const { adapter, warnings } = readGoldenPeft('linear')
    expect(warnings).toEqual([])
    expect(shapes(adapter)).toEqual([
      ['block.fc1', 'linear', [3, 32], [12, 3], undefined],
      ['block.fc2', 'linear', [3, 12], [5, 3], undefined],
    ])
    expect(adapter.layers.map(({ scale }) => scale)).toEqual([2, 2])
    expect(adapter.config).toMatchObject({ r: 3, alpha: 6, rsLora: false, dora: false })
    expect([...(adapter.config.targets as string[])].sort()).toEqual(['fc1', 'fc2'])
  })

  it.each([{ layers_to_transform: 0 }, { exclude_modules: ['other.fc1'] }])(
    '%j > narrows the targets, so that whole paths are written again',
    (changes) => {
      const { adapter } = decodePeft(withConfig(changes))
      expect(configOf(encodePeft(adapter)).target_modules).toEqual(['block.fc1', 'block.fc2'])
    },
  )

  it('has convolutions and embeddings, with ranks and alphas by pattern', () => {
    const { adapter } = readGoldenPeft('kinds')
    expect(shapes(adapter)).toEqual([
      ['block.fc1', 'linear', [2, 32], [12, 2], undefined],
      ['block.fc2', 'linear', [3, 12], [5, 3], undefined],
      ['conv', 'conv', [3, 1, 3, 3], [4, 3, 1, 1], undefined],
      ['embed', 'embedding', [3, 13], [8, 3], undefined],
    ])
    expect(adapter.layers.map(({ scale }) => scale)).toEqual([3, 2, 5 / 3, 2])
  })

  it('has the scale of rsLoRA', () => {
    const { layers } = readGoldenPeft('rslora').adapter
    expect(layers.map(({ a, scale }) => [a.dims[0], scale])).toEqual([
      [5, 4 / Math.sqrt(5)],
      [3, 4 / Math.sqrt(3)],
    ])
  })

  it('has magnitudes of DoRA', () => {
    expect(readGoldenPeft('dora').adapter.layers.map(({ magnitude }) => magnitude?.dims)).toEqual([[12], [5]])
    const kinds = readGoldenPeft('dora-kinds').adapter.layers
    expect(kinds.map(({ module, magnitude }) => [module, magnitude?.dims])).toEqual([
      ['block.fc1', [12]],
      ['conv', [4]],
      ['embed', [8]],
    ])
  })

  it('has float16 tensors as they are, and bfloat16 as float32', () => {
    expect(readGoldenPeft('half').adapter.layers[0]!.a.dtype).toBe('float16')
    const [{ a }] = readGoldenPeft('bfloat').adapter.layers as [AdapterLayer]
    expect(a.dtype).toBe('float32')
    const stored = tensorsOf(readGoldenFolder('bfloat'))['base_model.model.block.fc1.lora_A.weight']!
    expect(stored.dtype).toBe('bfloat16')
    expect(new Uint32Array((a.data as Float32Array).buffer)[7]).toBe((stored.data as Uint16Array)[7]! * 0x10000)
  })

  it.each([
    ['lora-bias', 'lora_bias is true'],
    ['bias', 'bias is "lora_only"'],
  ])('is refused if it trains more than A and B: %s', (name, reason) => {
    expect(() => readGoldenPeft(name)).toThrow(errorWith('invalid-data', reason))
  })

  it('is written again with the same tensors and the same meaning', () => {
    for (const name of ['linear', 'kinds', 'rslora', 'dora', 'dora-kinds', 'half', 'llama', 'modules-to-save']) {
      const { adapter } = readGoldenPeft(name)
      const files = encodePeft(adapter)
      expect(Object.keys(files).sort()).toEqual(['README.md', 'adapter_config.json', 'adapter_model.safetensors'])
      expect(tensorsOf(files)).toEqual(tensorsOf(readGoldenFolder(name)))
      const read = decodePeft(files)
      expect(read.warnings).toEqual([])
      expect(read.adapter.layers).toEqual(adapter.layers)
      expect(read.adapter.saved).toEqual(adapter.saved)
      const { peft_type, r, lora_alpha, use_rslora, use_dora } = configOf(readGoldenFolder(name))
      expect(configOf(files)).toMatchObject({ peft_type, r, lora_alpha, use_rslora, use_dora, inference_mode: true })
    }
  })
})

describe('encodePeft', () => {
  it('writes ranks and alphas that follow from the layers, whatever the configuration says', () => {
    const layers = [layer('a.q_proj', 2, 2), layer('b.a.q_proj', 4, 3), layer('a.k_proj', 2, 2), layer('q_proj', 4, 3)]
    const config = configOf(encodePeft({ layers, config: { r: 16, alpha: 1, rankPattern: { other: 7 } } }))
    expect(config).toMatchObject({ r: 2, lora_alpha: 4 })
    // 'q_proj' also matches the end of 'a.q_proj', which therefore has an entry of its own before it.
    expect(Object.entries(config.rank_pattern)).toEqual(
      [
        ['b.a.q_proj', 4],
        ['a.q_proj', 2],
        ['a.k_proj', 2],
        ['q_proj', 4],
      ].filter(([name]) => name !== 'a.k_proj'),
    )
    const { adapter } = decodePeft(encodePeft({ layers, config: { r: 16, alpha: 1 } }))
    expect(adapter.layers.map(({ module, scale, a }) => [module, scale, a.dims[0]]).sort()).toEqual(
      layers.map(({ module, scale, a }) => [module, scale, a.dims[0]]).sort(),
    )
  })

  it('writes the targets as names if they name exactly the layers, otherwise as paths', () => {
    const layers = [layer('model.0.q_proj', 2, 1), layer('model.1.q_proj', 2, 1)]
    const targetsOf = (targets?: string | string[]) =>
      configOf(encodePeft({ layers, config: { r: 2, alpha: 2, ...(targets && { targets }) } })).target_modules
    expect(targetsOf(['q_proj'])).toEqual(['q_proj'])
    expect(targetsOf('all-linear')).toEqual(['q_proj'])
    expect(targetsOf(['/model/*'])).toEqual(['model.0.q_proj', 'model.1.q_proj'])
    expect(targetsOf()).toEqual(['model.0.q_proj', 'model.1.q_proj'])
  })

  it('writes a model card, or the given text', () => {
    const adapter = {
      layers: [layer('q_proj', 2, 1)],
      config: { r: 2, alpha: 2, baseModel: 'Qwen/"x"\n---', taskType: 'CAUSAL_LM' },
    }
    const card = Buffer.from(encodePeft(adapter)['README.md']!).toString('utf8')
    expect(card).toContain('base_model: "Qwen/\\"x\\"\\n---"\nlibrary_name: peft\n')
    expect(card).toContain('14 parameters')
    expect(card.match(/^---$/gm)).toHaveLength(2)
    expect(Buffer.from(encodePeft(adapter, { card: 'mine' })['README.md']!).toString()).toBe('mine')
  })

  it('preserves the checksum of the base', () => {
    const adapter = { layers: [layer('q_proj', 2, 1)], config: { r: 2, alpha: 2, baseChecksum: '0123abcd' } }
    expect(decodePeft(encodePeft(adapter)).adapter.config.baseChecksum).toBe('0123abcd')
    expect(Object.keys(configOf(encodePeft(adapter)))).not.toContain('baseChecksum')
  })

  it.each<[string, readonly AdapterLayer[]]>([
    ['no layers', []],
    ['occurs twice', [layer('q', 2, 1), layer('q', 2, 1)]],
    ['some do not', [layer('q', 2, 1, { magnitude: tensorFrom('float32', [3], [1, 1, 1]) }), layer('k', 2, 1)]],
    ['ranks must be equal', [layer('q', 2, 1, { a: tensorFrom('float32', [3, 4], Array(12).fill(0)) })]],
    ['axes of a linear layer', [layer('q', 2, 1, { a: tensorFrom('float32', [8], Array(8).fill(0)) })]],
    ['magnitudes are', [layer('q', 2, 1, { magnitude: tensorFrom('float32', [4], [1, 1, 1, 1]) })]],
  ])('refuses layers: %s', (reason, layers) => {
    expect(() => encodePeft({ layers, config: { r: 2, alpha: 2 } })).toThrow(errorWith('invalid-data', reason))
  })
})

describe('decodePeft', () => {
  it('warns of unknown fields that are set', () => {
    const { warnings } = decodePeft(withConfig({ use_magic: true, use_nothing: false, nothing: null, empty: {} }))
    expect(warnings).toEqual(["adapter_config.json: the unknown field 'use_magic' is ignored"])
  })

  it('has the defaults of PEFT for absent fields', () => {
    const files = withConfig({})
    const rank8 = { layers: [layer('q_proj', 8, 1)], config: { r: 8, alpha: 8 } }
    const { adapter } = decodePeft({
      ...files,
      ...encodePeft(rank8),
      'adapter_config.json': utf8('{"peft_type":"LORA"}'),
    })
    expect(adapter.layers[0]?.scale).toBe(1)
    expect(adapter.config).toEqual({
      r: 8,
      alpha: 8,
      dropout: 0,
      rsLora: false,
      dora: false,
      rankPattern: {},
      alphaPattern: {},
    })
  })

  it('reads patterns as PEFT: the first expression that matches the path or its end after a dot', () => {
    const scaleOf = (alpha_pattern: object) =>
      decodePeft(withConfig({ alpha_pattern })).adapter.layers.map(({ scale }) => scale * 3)
    expect(scaleOf({ fc1: 1, 'block.fc1': 5 })).toEqual([1, 6])
    expect(scaleOf({ 'block.fc1': 5, fc1: 1 })).toEqual([5, 6])
    expect(scaleOf({ c1: 1, '^fc2': 1 })).toEqual([6, 6])
    expect(scaleOf({ 'block.fc\\d': 9 })).toEqual([9, 9])
    expect(scaleOf({ '^block.*': 9 })).toEqual([9, 9])
    expect(scaleOf({ 'fc1|fc2': 9 })).toEqual([9, 9])
  })

  it.each(['(a+)+$', '(.*)*x', 'a?a?a?a?a?aaaaa', '.*.*.*x', '(a)\\1', '(?=a)'])(
    'refuses an expression that may take exponential time: %s',
    (pattern) => {
      expect(() => decodePeft(withConfig({ alpha_pattern: { [pattern]: 1 } }))).toThrow(
        errorWith('invalid-data', 'alpha_pattern'),
      )
    },
  )

  it.each<[string, object]>([
    ['peft_type', { peft_type: 'LOHA' }],
    ['r is 0', { r: 0 }],
    ['r is "8"', { r: '8' }],
    ['lora_alpha', { lora_alpha: 'x' }],
    ['lora_dropout', { lora_dropout: 1 }],
    ['use_rslora', { use_rslora: 1 }],
    ['use_dora', { use_dora: true }],
    ['rank_pattern', { rank_pattern: { fc1: -1 } }],
    ['rank_pattern', { rank_pattern: ['fc1'] }],
    ['alpha_pattern', { alpha_pattern: { '(': 1 } }],
    ['target_modules', { target_modules: [1] }],
    ['base_model_name_or_path', { base_model_name_or_path: 5 }],
    ['init_lora_weights', { init_lora_weights: 'pissa_niter_4' }],
    ['use_qalora', { use_qalora: true }],
    ['trainable_token_indices', { trainable_token_indices: [1] }],
    ['rank in adapter_config.json is 4', { r: 4 }],
    ['rank in adapter_config.json is 2', { rank_pattern: { fc2: 2 } }],
  ])('refuses a configuration and names the field: %s', (field, changes) => {
    expect(() => decodePeft(withConfig(changes))).toThrow(errorWith('invalid-data', field))
  })

  const [a, b] = ['base_model.model.block.fc1.lora_A.weight', 'base_model.model.block.fc1.lora_B.weight']
  const zeros = (...dims: number[]) => tensorFrom('float32', dims, new Float32Array(dims.reduce((x, y) => x * y, 1)))
  it.each<[string, Readonly<Record<string, Tensor | undefined>>]>([
    ['block.fc1.lora_B.weight is missing', { [b]: undefined }],
    ['block.fc1.lora_A.weight is missing', { [a]: undefined }],
    ['ranks must be equal', { [b]: zeros(12, 2) }],
    ['axes of a linear layer', { [b]: zeros(12, 3, 1) }],
    ['its rank in adapter_config.json is 3', { [a]: zeros(0, 32) }],
    ['floating-point', { [a]: tensor('int8', [3, 32], new Int8Array(96)) }],
    ['classifier.weight', { 'base_model.model.classifier.weight': zeros(2) }],
    ['trained bias', { 'base_model.model.block.fc1.bias': zeros(12) }],
    ['an embedding, not both', { 'base_model.model.block.fc1.lora_embedding_A': zeros(3, 2) }],
  ])('refuses tensors: %s', (reason, changes) => {
    expect(() => decodePeft(withTensors(changes))).toThrow(errorWith('invalid-data', reason))
  })

  it('ignores the copy of an embedding that PEFT saves along with an adapter of it', () => {
    const { adapter } = readGoldenPeft('kinds')
    const files = encodePeft(adapter)
    const tensors = { ...tensorsOf(files), 'base_model.model.embed.base_layer.weight': zeros(13, 8) }
    const read = decodePeft({ ...files, 'adapter_model.safetensors': encodeSafetensors({ tensors, metadata: {} }) })
    expect(read.adapter.layers).toEqual(adapter.layers)
    expect(read.warnings).toEqual([expect.stringContaining('embed.base_layer.weight is ignored')])
  })

  it('refuses missing and damaged files', () => {
    const { 'adapter_model.safetensors': weights, 'adapter_config.json': config } = readGoldenFolder('linear') as {
      [name: string]: Uint8Array
    }
    expect(() => decodePeft({})).toThrow(errorWith('invalid-data', 'adapter_config.json is missing'))
    const pickle = { 'adapter_config.json': config!, 'adapter_model.bin': utf8('') }
    expect(() => decodePeft(pickle)).toThrow(errorWith('invalid-data', 'safe_serialization'))
    for (const text of ['', '{', '[]', 'null'])
      expect(() => decodePeft({ ...pickle, 'adapter_config.json': utf8(text) })).toThrow(
        errorWith('invalid-data', 'adapter_config.json'),
      )
    const cut = {
      'adapter_config.json': config!,
      'adapter_model.safetensors': weights!.subarray(0, weights!.length - 1),
    }
    expect(thrownMessage('damaged', () => decodePeft(cut))).toMatch('adapter_model.safetensors')
  })
})
