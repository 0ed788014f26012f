/** A model of onnx-ire/models, its options and the batch. */
interface Point {
  readonly model: 'mlp' | 'resnet' | 'vit' | 'llama'
  readonly options: object
  readonly batch: number
}

/** Training steps of one family of models along one axis. */
interface StepCurve {
  readonly name: string
  readonly title: string
  /** Label of the horizontal axis. */
  readonly axis: string
  readonly values: readonly number[]
  point(value: number): Point
}

const cifar = { size: 32, stem: 'cifar', classes: 10 } as const

export const stepCurves: readonly StepCurve[] = [
  {
    name: 'batch',
    title: 'ResNet-18 on 32x32 images',
    axis: 'batch',
    values: [1, 2, 4, 8, 16, 32, 64],
    point: (batch) => ({ model: 'resnet', options: cifar, batch }),
  },
  {
    name: 'width',
    title: 'MLP of two hidden layers, batch 128',
    axis: 'width of the hidden layers',
    values: [128, 256, 512, 1024, 2048, 4096],
    point: (width) => ({ model: 'mlp', options: { hidden: [width, width] }, batch: 128 }),
  },
  {
    name: 'depth',
    title: 'ViT of width 192 on 32x32 images, batch 16',
    axis: 'blocks',
    values: [1, 2, 4, 8, 16, 32],
    point: (layers) => ({ model: 'vit', options: { size: 32, patch: 4, classes: 10, layers }, batch: 16 }),
  },
  {
    name: 'context',
    title: 'Llama of 4 blocks of width 256, batch 4',
    axis: 'tokens per example',
    values: [32, 64, 128, 256, 512, 1024],
    point: (context) => ({
      model: 'llama',
      options: { vocabulary: 4096, width: 256, heads: 4, layers: 4, context },
      batch: 4,
    }),
  },
]

/** Numbers of parameters for the update alone. */
export const updateSizes: readonly number[] = [1e5, 1e6, 1e7, 3e7, 1e8, 229e6]

/** Numbers of layers of the multilayer perceptrons whose training graphs are built. */
export const graphSizes: readonly number[] = [10, 100, 1000, 10_000]
