import { describe, expect, it } from 'vitest'
import { llama } from '../../models/llama.js'
import { transformer } from '../../models/transformer.js'
import {
  adaptableLayers,
  adapterOf,
  applyAdapter,
  encodePeft,
  inlineFunctions,
  type LoraOptions,
  lora,
  removeAdapter,
} from '../../src/adapter/index.js'
import { deriveModulePath } from '../../src/adapter/layers.js'
import { findTrainable, importGraph } from '../../src/graph/index.js'
import { decodeModel, inspectModel, type Model, type Tensor } from '../../src/index.js'
import { tensorFrom } from '../../src/ir/leaf.js'
import { create } from '../../src/onnx/proto/message.js'
import { Random } from '../../src/util/random.js'
import { graph, graphProto, info, int, modelBytes, node, text } from '../onnx/build.js'
import { numbers } from '../onnx/session.js'
import { thrownError } from '../thrown.js'
import { modelFrom, smallConvnet, smallMlp } from '../train/problem.js'
import { drawing, forms, randomAdapter } from './forms.js'

const draw = drawing(new Random(4))

const language = { vocabulary: 16, context: 6, width: 8, heads: 2, layers: 2, hidden: 12 }
const small = modelFrom(llama(language))
const modules = (model: Model, options: LoraOptions = {}) =>
  adapterOf(lora(model, { r: 2, ...options })).layers.map(({ module }) => module)

describe('module paths', () => {
  const scopes =
    "['', 'model', 'model.layers.0', 'model.layers.0.self_attn', 'model.layers.0.self_attn.q_proj', 'linear_3']"
  it.each([
    // optimum and torch.onnx.export(dynamo=False)
    ['/model/layers.0/self_attn/q_proj/MatMul', 'onnx::MatMul_2901', 'model.layers.0.self_attn.q_proj'],
    [
      '/bert/encoder/layer.0/attention/self/query/MatMul',
      'onnx::MatMul_7',
      'bert.encoder.layer.0.attention.self.query',
    ],
    ['/transformer/h.0/attn/c_attn/Gemm', 'transformer.h.0.attn.c_attn.weight', 'transformer.h.0.attn.c_attn'],
    ['/fc1/Gemm', 'fc1.weight', 'fc1'],
    ['/lm_head/MatMul', 'model.embed_tokens.weight', 'lm_head'],
    ['/MatMul_3', 'onnx::MatMul_9', '/MatMul_3'],
    // onnxruntime-genai, and its quantizer
    [
      '/model/layers.1/attn/o_proj/MatMul',
      'model.layers.1.attn.o_proj.MatMul.weight',
      'model.layers.1.self_attn.o_proj',
    ],
    [
      '/model/layers.1/attn/q_proj/MatMul_Q4',
      'model.layers.1.attn.q_proj.MatMul.weight_Q4G32',
      'model.layers.1.self_attn.q_proj',
    ],
    [
      '/model/layers.1/mlp/up_proj/MatMulNBits',
      'model.layers.1.mlp.up_proj.MatMulNBits.qweight',
      'model.layers.1.mlp.up_proj',
    ],
    ['/model/embed_tokens/Gather', 'model.embed_tokens.weight', 'model.embed_tokens'],
    // TensorFlow
    ['model/dense_1/MatMul', 'model/dense_1/MatMul/ReadVariableOp:0', 'model.dense_1'],
    // nodes without names
    ['', 'block0.attention.query.weight', 'block0.attention.query'],
    ['', 'model.layers.0.attn.q_proj.MatMul.weight', 'model.layers.0.self_attn.q_proj'],
    ['node_linear_3', 'fc.weight', 'fc'],
  ])('%s with the weight %s > is %s', (name, weight, path) => {
    expect(deriveModulePath(create('NodeProto', { name }), weight)).toBe(path)
  })

  it('the scopes of torch.onnx.export(dynamo=True) come first', () => {
    const entry = create('StringStringEntryProto', { key: 'pkg.torch.onnx.name_scopes', value: scopes })
    const linear = create('NodeProto', { name: 'node_linear_3', metadataProps: [entry] })
    expect(deriveModulePath(linear, 'val_121')).toBe('model.layers.0.self_attn.q_proj')
  })
})

describe('targets', () => {
  it('all-linear > is every linear layer except the output layer of a language model', () => {
    const names = modules(small)
    expect(names).toHaveLength(14)
    expect(names).not.toContain('head')
    expect(modules(modelFrom(transformer(language)))).not.toContain('lm_head')
    expect(modules(smallMlp())).toEqual(['hidden0', 'head'])
  })

  it.each<readonly [string, Model, string | readonly string[], readonly string[]]>([
    ['the end of a path', small, 'query', ['block0.attention.query', 'block1.attention.query']],
    ['a longer end', small, ['mlp.up', 'block1.mlp.down'], ['block0.mlp.up', 'block1.mlp.up', 'block1.mlp.down']],
    [
      'a pattern',
      small,
      'block1.attention.*',
      ['query', 'key', 'value', 'output'].map((name) => `block1.attention.${name}`),
    ],
    ['the name of a weight', small, 'block0.mlp.gate.weight', ['block0.mlp.gate']],
    ['the output layer and the embedding, named', small, ['head', 'embedding'], ['embedding', 'head']],
    ['a tied output layer', modelFrom(transformer(language)), ['lm_head'], ['lm_head']],
    ['all-linear and more', smallMlp(), ['all-linear', 'hidden0'], ['hidden0', 'head']],
  ])('%s', (_, model, targets, expected) => expect(modules(model, { targets })).toEqual(expected))

  it('names that PEFT would find in other layers too > are written as whole paths', () => {
    const targetsOf = (model: Model, options: LoraOptions) => {
      const files = encodePeft(adapterOf(lora(model, { r: 2, ...options })))
      return JSON.parse(new TextDecoder().decode(files['adapter_config.json'])).target_modules
    }
    const query = 'block0.attention.query'
    expect(targetsOf(small, { targets: ['query'] })).toEqual(['query'])
    expect(targetsOf(small, { targets: ['query'], exclude: query })).toEqual(['block1.attention.query'])
    expect(targetsOf(small, { targets: ['up'], modulesToSave: 'block1.mlp.up' })).toEqual(['block0.mlp.up'])
    expect(targetsOf(small, {})).toContain('query')
    expect(targetsOf(small, { exclude: query })).toEqual(modules(small, { exclude: query }))
    const vision = decodeModel(
      modelBytes({
        nodes: [
          { ...node('Conv', 'x a', 'h'), name: '/patch_embed/proj/Conv' },
          { ...node('MatMul', 'h b', 'y'), name: '/attn/proj/MatMul' },
        ],
        inputs: [info('x', [1, 3, 4, 4])],
        outputs: [info('y', [1, 3, 3, 3])],
        initializers: { a: draw('float32', [3, 3, 2, 2]), b: draw('float32', [3, 3]) },
      }),
    )
    expect(targetsOf(vision, {})).toEqual(['attn.proj'])
  })

  it('an unknown name > is refused with the closest and the available names', () => {
    const error = thrownError(() => lora(small, { targets: ['querry'] }))
    expect(error.code).toBe('invalid-option')
    expect(error.message).toContain("'query'")
    expect(error.message).toContain('gate')
  })

  it.each<readonly [string, LoraOptions]>([
    ['rankPattern', { targets: ['query'], rankPattern: { 'mlp.up': 4 } }],
    ['alphaPattern', { alphaPattern: { nothing: 4 } }],
    ['r', { r: 0 }],
    ['r', { r: 1.5 }],
    ['alpha', { alpha: 0 }],
    ['dropout', { dropout: 1 }],
    ['init', { init: 'olora' as 'pissa' }],
    ['dora', { init: 'pissa', dora: true }],
    ['dropout', { init: 'pissa', dropout: 0.1 }],
    ['init', { init: 'pissa', targets: 'embedding' }],
    ['init', { init: 'pissa', r: 999 }],
    ['targets', { targets: [] }],
    ['rank', { rank: 3 } as LoraOptions],
    ['dropout', { dora: true, dropout: 0.1 }],
  ])('the option %s of %j > is refused by name', (option, options) => {
    const error = thrownError(() => lora(small, options))
    expect(error.code).toBe('invalid-option')
    expect(error.message).toContain(option)
  })

  it('a rank that the groups of a convolution do not divide > is refused', () => {
    const { model } = forms.find(({ name }) => name === 'Conv of several groups')!
    expect(thrownError(() => lora(model, { targets: 'layer', r: 3 })).message).toContain('groups')
    expect(adapterOf(lora(model, { targets: 'layer', r: 4 })).layers[0]!.b.dims).toEqual([6, 2, 1, 1])
  })

  it('a layer whose products are of integers > is named with the reason', () => {
    const quantized = {
      nodes: [
        node('DynamicQuantizeLinear', 'x', 'q scale zero'),
        node('MatMulInteger', 'q up_proj.weight_quantized zero', 'y'),
      ],
      inputs: [info('x', [2, 3])],
      outputs: [info('y', [2, 3], 'int32')],
      initializers: { 'up_proj.weight_quantized': tensorFrom('int8', [3, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9]) },
    }
    const { code, message } = thrownError(() => lora(decodeModel(modelBytes(quantized))))
    expect(code).toBe('invalid-option')
    expect(message).toContain("'up_proj' cannot have an adapter: it multiplies integers")
    expect(message).toContain('float32, float16 or 4 bits')
  })

  it('all-linear > names fused layers that it would leave out; exclude goes without them', () => {
    const fused = decodeModel(
      modelBytes({
        nodes: [
          {
            ...node('FusedGemm', 'x a', 'h', { activation: text('Tanh') }, 'com.microsoft'),
            name: 'fused /pooler/dense/Gemm',
          },
          { ...node('MatMul', 'h b', 'y'), name: '/head/MatMul' },
        ],
        inputs: [info('x', [2, 3])],
        outputs: [info('y', [2, 3])],
        initializers: { a: draw('float32', [3, 3]), b: draw('float32', [3, 3]) },
      }),
    )
    const { code, message } = thrownError(() => lora(fused))
    expect(code).toBe('invalid-option')
    expect(message).toContain("layers that cannot have an adapter, 'pooler.dense': it is fused")
    expect(message).toContain("'exclude'")
    expect(modules(fused, { exclude: 'pooler.dense' })).toEqual(['head'])
    expect(modules(fused, { targets: 'head' })).toEqual(['head'])
  })

  it('a layer in a function, or in bodies with weights of the same name > is refused with the reason', () => {
    const product = node('MatMul', 'x w', 'z')
    const inside = graphProto({ nodes: [product], outputs: [info('z')], initializers: { w: draw('float32', [3, 3]) } })
    const choice = node('If', 'c', 'y', { then_branch: graph(inside), else_branch: graph(inside) })
    const inputs = [info('x', [2, 3]), info('c', [], 'bool')]
    const inBody = decodeModel(modelBytes({ nodes: [choice], inputs, outputs: [info('y')] }))
    expect(thrownError(() => lora(inBody)).message).toContain('main graph')

    const call = node('Layer', 'x w', 'y', {}, 'local')
    const [domain, version] = ['', 17n]
    const layer = create('FunctionProto', {
      name: 'Layer',
      domain: 'local',
      input: ['x', 'w'],
      output: ['z'],
      node: [product],
      opsetImport: [create('OperatorSetIdProto', { domain, version })],
    })
    const main = {
      nodes: [call],
      inputs: [info('x', [2, 3])],
      outputs: [info('y')],
      initializers: { w: draw('float32', [3, 3]) },
    }
    const opsetImport = [layer.opsetImport[0]!, create('OperatorSetIdProto', { domain: 'local', version: 1n })]
    const inFunction = decodeModel(modelBytes(main, { more: { functions: [layer], opsetImport } }))
    expect(thrownError(() => lora(inFunction)).message).toContain("function 'Layer'")
    expect(thrownError(() => lora(inFunction)).message).toContain('adapter inline')
    const adapted = lora(inlineFunctions(inFunction), { r: 1 })
    expect(adapterOf(adapted).layers.map(({ a, b }) => [a.dims, b.dims])).toEqual([
      [
        [1, 3],
        [3, 1],
      ],
    ])
  })

  it('a model without layers > has nothing to adapt', () => {
    const model = decodeModel(
      modelBytes({ nodes: [node('Relu', 'x', 'y')], inputs: [info('x', [1])], outputs: [info('y')] }),
    )
    expect(thrownError(() => lora(model)).code).toBe('invalid-option')
  })
})

describe('a new adapter', () => {
  it("has ranks and scales of its patterns, and PEFT's shapes and initial values", () => {
    const model = lora(small, {
      r: 4,
      alpha: 6,
      rsLora: true,
      targets: ['query', 'value', 'embedding'],
      rankPattern: { 'block1.attention.value': 2, value: 1 },
      alphaPattern: { query: 3 },
    })
    const { layers, config } = adapterOf(model)
    expect(config).toMatchObject({ r: 4, alpha: 6, rsLora: true, targets: ['query', 'value', 'embedding'] })
    expect(layers.map(({ module, a, b, scale }) => [module, a.dims, b.dims, scale])).toEqual([
      ['embedding', [4, 16], [8, 4], 3],
      ['block0.attention.query', [4, 8], [8, 4], 1.5],
      ['block0.attention.value', [1, 8], [8, 1], 6],
      ['block1.attention.query', [4, 8], [8, 4], 1.5],
      ['block1.attention.value', [2, 8], [8, 2], 6 / Math.SQRT2],
    ])
    const [embedding, query] = layers
    expect(numbers(embedding!.a).every((x) => x === 0)).toBe(true)
    expect(numbers(embedding!.b).every((x) => x !== 0)).toBe(true)
    expect(numbers(query!.b).every((x) => x === 0)).toBe(true)
    expect(Math.max(...numbers(query!.a).map(Math.abs))).toBeLessThan(1 / Math.sqrt(8))
    expect(Math.max(...numbers(query!.a).map(Math.abs))).toBeGreaterThan(0.8 / Math.sqrt(8))
  })

  it('depends on the seed, and on nothing else', () => {
    const first = (options: LoraOptions) => numbers(adapterOf(lora(small, { r: 2, ...options })).layers.at(-1)!.a)
    expect(first({})).toEqual(first({ targets: ['block1.mlp.down'], seed: 0 }))
    expect(first({})).not.toEqual(first({ seed: 1 }))
    const gaussian = first({ init: 'gaussian', r: 64 })
    const variance = gaussian.reduce((total, x) => total + x * x, 0) / gaussian.length
    expect(variance * 64 ** 2).toBeCloseTo(1, 0)
  })

  it('of convolutions > has the kernel in A', () => {
    const { layers } = adapterOf(lora(smallConvnet(), { r: 3, targets: '*conv*' }))
    expect(layers.length).toBeGreaterThan(0)
    for (const { a, b } of layers) {
      expect(a.dims).toEqual([3, a.dims[1], 3, 3])
      expect(b.dims).toEqual([b.dims[0], 3, 1, 1])
    }
  })
})

describe('a packed qkv_proj', () => {
  const { model } = forms.find(({ name }) => name.startsWith('packed'))!

  it('has the parts q_proj, k_proj and v_proj, and is listed as a whole', () => {
    expect(
      adaptableLayers(model).map(({ module, out, isDefault }) => [module.split('.').at(-1), out, isDefault]),
    ).toEqual([
      ['qkv_proj', 8, false],
      ['q_proj', 4, true],
      ['k_proj', 2, true],
      ['v_proj', 2, true],
    ])
  })

  it('some parts only > the others are unchanged', () => {
    const changed = applyAdapter(model, randomAdapter(model, ['model.layers.0.self_attn.v_proj']))
    const names = changed.proto.graph!.node.map(({ name }) => name)
    expect(names.filter((name) => name?.includes('lora_zeros'))).toHaveLength(2)
    expect(removeAdapter(changed).proto.graph!.node).toHaveLength(model.proto.graph!.node.length)
  })

  it('the whole and a part > are refused together', () => {
    expect(thrownError(() => lora(model, { targets: ['qkv_proj', 'q_proj'] })).code).toBe('invalid-option')
  })

  const attention = decodeModel(
    modelBytes({
      nodes: [
        { ...node('MatMul', 'x w', 'qkv'), name: '/model/layers.0/attn/qkv_proj/MatMul' },
        node(
          'GroupQueryAttention',
          'qkv _ _ _ _ s t',
          'y',
          { num_heads: int(4), kv_num_heads: int(2) },
          'com.microsoft',
        ),
      ],
      inputs: [info('x', [1, 2, 6]), info('s', [1], 'int32'), info('t', [], 'int32')],
      outputs: [info('y')],
      initializers: { w: draw('float32', [6, 32]) },
    }),
  )

  it('its sizes > are those of the attention node, or given', () => {
    const outs = (sizes?: [number, number, number]) =>
      adaptableLayers(attention, sizes ? { qkvSizes: sizes } : {}).map(({ out }) => out)
    expect(outs()).toEqual([32, 16, 8, 8])
    expect(outs([20, 6, 6])).toEqual([32, 20, 6, 6])
    expect(thrownError(() => outs([20, 6, 8])).code).toBe('invalid-option')
  })
})

describe('an adapter of another model', () => {
  const adapter = randomAdapter(small, ['block0.mlp.up'])
  const [layer] = adapter.layers
  const withLayer = (change: object) => ({ ...adapter, layers: [{ ...layer!, ...change }] })
  const tensor = (...dims: readonly number[]): Tensor => draw('float32', dims)

  it.each([
    ['a module that is missing', withLayer({ module: 'block7.mlp.up' }), 'block7.mlp.up'],
    ['another number of inputs', withLayer({ a: tensor(2, 9) }), 'block0.mlp.up'],
    ['another rank of B', withLayer({ b: tensor(12, 3) }), 'block0.mlp.up'],
    ['another kind', withLayer({ kind: 'conv' }), 'block0.mlp.up'],
    ['a name that two modules have', withLayer({ module: 'mlp.up' }), 'mlp.up'],
  ])('%s > is refused', (_, other, module) => {
    const error = thrownError(() => applyAdapter(small, other))
    expect(error.code).toBe('invalid-data')
    expect(error.message).toContain(module)
  })

  it('paths with more outer modules > are found', () => {
    const inside = applyAdapter(small, withLayer({ module: 'model.block0.mlp.up' }))
    expect(adapterOf(inside).layers[0]!.module).toBe('model.block0.mlp.up')
  })

  it('a second adapter, and none > are refused', () => {
    expect(thrownError(() => lora(lora(small))).code).toBe('invalid-option')
    expect(thrownError(() => adapterOf(small)).code).toBe('invalid-option')
    expect(thrownError(() => removeAdapter(small)).code).toBe('invalid-option')
  })

  it('metadata that are damaged > are an invalid model, which inspect reports', () => {
    const withRecord = (value: string): Model => {
      const entry = create('StringStringEntryProto', { key: 'onnx-ire.adapter', value })
      return { ...small, proto: { ...small.proto, metadataProps: [entry] } }
    }
    const layer = { module: 'm', kind: 'linear', node: 'n', r: 1, scale: 1, a: 'block0.norm1.weight', b: 'nothing' }
    const record = (change: object) =>
      JSON.stringify({ version: 1, config: {}, layers: [{ ...layer, ...change }], sites: [] })
    for (const value of ['{', '[]', '{"version":2}', record({ kind: 'other' }), record({ scale: '1' })]) {
      expect(thrownError(() => adapterOf(withRecord(value))).code).toBe('invalid-model')
      expect(thrownError(() => findTrainable(importGraph(withRecord(value)))).code).toBe('invalid-model')
      expect(inspectModel(withRecord(value)).training.blocked?.code).toBe('invalid-model')
    }
    // A vector in place of a matrix, and a tensor that is missing.
    expect(thrownError(() => adapterOf(withRecord(record({})))).message).toContain('block0.norm1.weight')
    expect(thrownError(() => adapterOf(withRecord(record({ a: 'head.weight' })))).message).toContain('nothing')
  })
})
