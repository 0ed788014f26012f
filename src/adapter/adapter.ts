import type { Tensor } from '../ir/tensor.js'

/** Kind of a layer that an adapter can change. */
export type AdapterKind = 'linear' | 'conv' | 'embedding'

/** Low-rank change of one layer, in the layout of PEFT. */
export interface AdapterLayer {
  /** PEFT's module path, for instance `model.layers.0.self_attn.q_proj`. */
  readonly module: string
  readonly kind: AdapterKind
  /** Linear [r, in]; convolution [r, in, kh, kw]; embedding [r, rows]. */
  readonly a: Tensor
  /** Linear [out, r]; convolution [out, r / groups, 1, 1]; embedding [width, r]. */
  readonly b: Tensor
  /** Factor of the product B A: alpha / r, or alpha / sqrt(r) with `rsLora`. */
  readonly scale: number
  /** Magnitudes of DoRA, [out]. */
  readonly magnitude?: Tensor
}

/** Settings with which an adapter was created, as in PEFT's `adapter_config.json`. They do not change the result. */
export interface AdapterConfig {
  /** Rank of the layers without a pattern of their own; 0 if the adapter has factors. */
  readonly r: number
  /** Numerator of the scale of the layers without a pattern of their own; 0 if the adapter has factors. */
  readonly alpha: number
  /** Probability of dropping an input element of A in training. Default 0. */
  readonly dropout?: number
  /** Whether the scale is alpha / sqrt(r) instead of alpha / r. Default false. */
  readonly rsLora?: boolean
  /** Whether the layers have magnitudes (DoRA). Default false. */
  readonly dora?: boolean
  /** Ranks by module name or pattern. */
  readonly rankPattern?: Readonly<Record<string, number>>
  /** Alphas by module name or pattern. */
  readonly alphaPattern?: Readonly<Record<string, number>>
  /** PEFT's `target_modules`: `all-linear`, or names such as `q_proj`. */
  readonly targets?: string | readonly string[]
  /** Name or path of the model that the adapter belongs to. */
  readonly baseModel?: string
  /** Checksum of that model's tensors, as `checksumBase` returns it. */
  readonly baseChecksum?: string
  /** PEFT's task type, for instance `CAUSAL_LM`. */
  readonly taskType?: string
}

/**
 * Module that is trained as a whole beside the low-rank changes (PEFT's `modules_to_save`), in the layout of PyTorch.
 */
export interface SavedModule {
  /** PEFT's module path, for instance `classifier`. */
  readonly module: string
  /** Linear [out, in]; convolution [out, in, kh, kw]; embedding [rows, width]. */
  readonly weight: Tensor
  readonly bias?: Tensor
}

/** Factors of the outputs or inputs of one layer ((IA)^3, Liu et al. 2022), in the layout of PEFT. */
export interface ScalingLayer {
  /** PEFT's module path. */
  readonly module: string
  readonly kind: AdapterKind
  /** Values that are multiplied: the layer's outputs, after its bias, or its inputs. */
  readonly of: 'outputs' | 'inputs'
  /** Outputs [out, 1], inputs [1, in]; convolution [1, channels, 1, 1]. */
  readonly factors: Tensor
}

/** Changes of some layers of a model: of low rank (LoRA, Hu et al. 2021), or by factors. */
export interface Adapter {
  readonly layers: readonly AdapterLayer[]
  /** Factors of layers; `layers` is empty then. */
  readonly scalings?: readonly ScalingLayer[]
  /** Modules that are trained as a whole. */
  readonly saved?: readonly SavedModule[]
  readonly config: AdapterConfig
}
