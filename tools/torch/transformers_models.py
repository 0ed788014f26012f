"""Small members of the families of the library transformers, with the interface of architectures.py.

Each entry creates a module with random weights, and its inputs. The module returns one tensor. Needs transformers 4.57.
Mixtral, Qwen3-MoE and GPT-OSS do not export with it; CLIP, MPT and time series transformers do not run in float64.
"""

import torch
import transformers
from torch import nn

CLASSES = 10
VOCABULARY = 60

# Names that most configurations have; those without take no notice of them.
SMALL = dict(
    vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
    max_position_embeddings=64, num_labels=CLASSES, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, use_cache=False,
)  # fmt: skip
GROUPED = dict(num_key_value_heads=2, head_dim=8)
SEQ2SEQ = dict(
    vocab_size=VOCABULARY, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
    decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64, dropout=0.0,
    pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, use_cache=False,
)  # fmt: skip
IMAGE = dict(SMALL, image_size=32, patch_size=8)
CHANNELS = dict(num_channels=3, num_labels=CLASSES)


class Named(nn.Module):
    """A model whose positional inputs have names, and which returns one of its outputs."""

    def __init__(self, model, names, output, **options):
        super().__init__()
        self.model, self.names, self.output, self.options = model, names, output, options

    def forward(self, *inputs):
        return self.model(**dict(zip(self.names, inputs)), **self.options)[self.output]


def built(name, config, *names, output="logits", options={}, **settings):
    """The class `name` of transformers with the configuration of class `config`."""
    model = getattr(transformers, name)(getattr(transformers, config)(**settings))
    # Fixed tables of positions have gradients, too.
    return Named(model.requires_grad_(), names, output, **options).eval()


def tokens(batch=2, length=12):
    return torch.randint(3, VOCABULARY, (batch, length))


def mask(batch=2, length=12):
    """The last example has three positions of padding."""
    present = torch.ones(batch, length, dtype=torch.int64)
    present[-1, -3:] = 0
    return present


def image(size=32, batch=2):
    return torch.randn(batch, 3, size, size)


def text(name, config, **settings):
    """A model of tokens and their mask."""
    return lambda: (built(name, config, "input_ids", "attention_mask", **{**SMALL, **settings}), [tokens(), mask()])


def vision(name, config, size=32, output="logits", options={}, **settings):
    return lambda: (
        built(name, config, "pixel_values", output=output, options=options, **{**IMAGE, **settings}),
        [image(size)],
    )


def translation(name, config, **settings):
    return lambda: (
        built(name, config, "input_ids", "attention_mask", "decoder_input_ids", **{**SEQ2SEQ, **settings}),
        [tokens(), mask(), tokens(length=9)],
    )


def audio(name, config, *shape, input="input_values", options={}, **settings):
    return lambda: (built(name, config, input, options=options, **{**SMALL, **settings}), [torch.randn(2, *shape)])


def whisper():
    settings = dict(SEQ2SEQ, num_mel_bins=16, max_source_positions=20, max_target_positions=32)
    model = built("WhisperForConditionalGeneration", "WhisperConfig", "input_features", "decoder_input_ids", **settings)
    return model, [torch.randn(2, 16, 40), tokens(length=9)]


def contrastive(name, config):
    part = dict(SMALL, projection_dim=32, image_size=32, patch_size=8)
    model = built(
        name, config, "input_ids", "pixel_values", "attention_mask", output="logits_per_image",
        text_config=dict(part), vision_config=dict(part), projection_dim=32,
    )  # fmt: skip
    return model, [tokens(), image(), mask()]


def detr():
    backbone = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    return built(
        "DetrForObjectDetection", "DetrConfig", "pixel_values", backbone_config=backbone, use_timm_backbone=False,
        backbone=None, use_pretrained_backbone=False, num_queries=5, num_labels=CLASSES, **SEQ2SEQ,
    ), [image(64)]  # fmt: skip


def rt_detr():
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 32, 32], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    return built(
        "RTDetrForObjectDetection", "RTDetrConfig", "pixel_values", backbone_config=backbone, backbone=None,
        use_pretrained_backbone=False, encoder_hidden_dim=32, encoder_in_channels=[32, 32, 32], encoder_ffn_dim=64,
        encoder_attention_heads=4, d_model=32, num_queries=6, decoder_in_channels=[32, 32, 32], decoder_ffn_dim=64,
        decoder_layers=2, decoder_attention_heads=4, num_denoising=0, num_labels=CLASSES, dropout=0.0,
    ), [image(64)]  # fmt: skip


def depth_anything():
    backbone = transformers.Dinov2Config(
        **IMAGE, out_features=["stage1", "stage2"], reshape_hidden_states=False, apply_layernorm=True
    )
    return built(
        "DepthAnythingForDepthEstimation", "DepthAnythingConfig", "pixel_values", output="predicted_depth",
        backbone_config=backbone, patch_size=8, reassemble_hidden_size=32, reassemble_factors=[2, 1],
        neck_hidden_sizes=[16, 32], fusion_hidden_size=16, head_in_index=-1, head_hidden_size=8,
    ), [image()]  # fmt: skip


def dpt():
    return vision(
        "DPTForDepthEstimation", "DPTConfig", output="predicted_depth", backbone_out_indices=[0, 1, 2, 3],
        num_hidden_layers=4, neck_hidden_sizes=[8, 16, 16, 16], fusion_hidden_size=16, is_hybrid=False,
    )()  # fmt: skip


def patch_tst():
    return built(
        "PatchTSTForClassification", "PatchTSTConfig", "past_values", output="prediction_logits", num_input_channels=3,
        num_targets=CLASSES, context_length=32, patch_length=8, patch_stride=8, num_hidden_layers=2, d_model=32,
        num_attention_heads=4, ffn_dim=64, use_cls_token=True,
    ), [torch.randn(2, 32, 3)]  # fmt: skip


def swin(name, config, **settings):
    return vision(
        name, config, size=64, image_size=64, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4],
        window_size=4, drop_path_rate=0.0, **settings,
    )  # fmt: skip


PYRAMID = dict(num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], num_attention_heads=[1, 2], drop_path_rate=0.0)

transformers_models = {
    # Encoders of text
    "BERT": text("BertForSequenceClassification", "BertConfig"),
    "BERT tokens": text("BertForTokenClassification", "BertConfig"),
    "BERT masked": text("BertForMaskedLM", "BertConfig"),
    "DistilBERT": text("DistilBertForSequenceClassification", "DistilBertConfig", dim=32, n_layers=2, n_heads=4,
                       hidden_dim=64),
    "ALBERT": text("AlbertForSequenceClassification", "AlbertConfig", embedding_size=16),
    "RoBERTa": text("RobertaForSequenceClassification", "RobertaConfig"),
    "XLM-R": text("XLMRobertaForSequenceClassification", "XLMRobertaConfig"),
    "ELECTRA": text("ElectraForSequenceClassification", "ElectraConfig", embedding_size=16),
    "DeBERTa": text("DebertaForSequenceClassification", "DebertaConfig", relative_attention=True,
                    pos_att_type=["c2p", "p2c"]),
    "DeBERTa-v2": text("DebertaV2ForSequenceClassification", "DebertaV2Config", relative_attention=True,
                       pos_att_type=["c2p", "p2c"], position_buckets=8, share_att_key=True, norm_rel_ebd="layer_norm",
                       conv_kernel_size=3, conv_act="gelu"),
    "MPNet": text("MPNetForSequenceClassification", "MPNetConfig"),
    "ModernBERT": text("ModernBertForSequenceClassification", "ModernBertConfig", num_hidden_layers=4,
                       local_attention=8, reference_compile=False, attn_implementation="sdpa", cls_token_id=1,
                       sep_token_id=2),
    "SqueezeBERT": text("SqueezeBertForSequenceClassification", "SqueezeBertConfig", embedding_size=32, q_groups=2,
                        k_groups=2, v_groups=2, intermediate_groups=2, output_groups=2),
    "MobileBERT": text("MobileBertForSequenceClassification", "MobileBertConfig", embedding_size=16,
                       intra_bottleneck_size=16, true_hidden_size=16),
    "FNet": lambda: (built("FNetForSequenceClassification", "FNetConfig", "input_ids", **SMALL), [tokens()]),
    "I-BERT": text("IBertForSequenceClassification", "IBertConfig"),
    "RoFormer": text("RoFormerForSequenceClassification", "RoFormerConfig", embedding_size=32),
    "CamemBERT": text("CamembertForTokenClassification", "CamembertConfig"),
    "ConvBERT": text("ConvBertForSequenceClassification", "ConvBertConfig", embedding_size=32, head_ratio=2),
    "XLNet": lambda: (built("XLNetForSequenceClassification", "XLNetConfig", "input_ids", "attention_mask",
                            vocab_size=VOCABULARY, num_labels=CLASSES, d_model=32, n_layer=2, n_head=4, d_inner=64,
                            dropout=0.0, summary_last_dropout=0.0, pad_token_id=0, use_mems_eval=False),
                      [tokens(), mask()]),
    # Decoders of text
    "GPT-2": text("GPT2LMHeadModel", "GPT2Config", n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "GPT-2 classes": text("GPT2ForSequenceClassification", "GPT2Config", n_embd=32, n_layer=2, n_head=4,
                             n_positions=64),
    "GPT-Neo": text("GPTNeoForCausalLM", "GPTNeoConfig", num_layers=2, num_heads=4, window_size=4,
                       attention_types=[[["global", "local"], 1]]),
    "GPT-J": text("GPTJForCausalLM", "GPTJConfig", n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4),
    "GPT-NeoX": text("GPTNeoXForCausalLM", "GPTNeoXConfig"),
    "OPT": text("OPTForCausalLM", "OPTConfig", ffn_dim=64, word_embed_proj_dim=32),
    "BLOOM": text("BloomForCausalLM", "BloomConfig", n_layer=2, n_head=4),
    "Falcon": text("FalconForCausalLM", "FalconConfig"),
    "CodeGen": text("CodeGenForCausalLM", "CodeGenConfig", n_embd=32, n_layer=2, n_head=4, n_positions=64,
                       rotary_dim=4),
    "Phi": text("PhiForCausalLM", "PhiConfig"),
    "Phi-3": text("Phi3ForCausalLM", "Phi3Config", num_key_value_heads=2, sliding_window=5),
    "Llama": text("LlamaForCausalLM", "LlamaConfig", **GROUPED),
    "Llama 3 scaling": text("LlamaForCausalLM", "LlamaConfig", **GROUPED,
                               rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                                 high_freq_factor=4.0, original_max_position_embeddings=32)),
    "Mistral": text("MistralForCausalLM", "MistralConfig", **GROUPED, sliding_window=5),
    "Qwen2": text("Qwen2ForCausalLM", "Qwen2Config", **GROUPED),
    "Qwen3": text("Qwen3ForCausalLM", "Qwen3Config", **GROUPED),
    "Gemma": text("GemmaForCausalLM", "GemmaConfig", **GROUPED),
    "Gemma 2": text("Gemma2ForCausalLM", "Gemma2Config", **GROUPED, sliding_window=5, query_pre_attn_scalar=8,
                       attn_logit_softcapping=2.0, final_logit_softcapping=2.0, attn_implementation="eager"),
    "Gemma 3": text("Gemma3ForCausalLM", "Gemma3TextConfig", **GROUPED, sliding_window=5,
                       query_pre_attn_scalar=8, layer_types=["sliding_attention", "full_attention"]),
    "SmolLM3": text("SmolLM3ForCausalLM", "SmolLM3Config", **GROUPED, no_rope_layers=[1, 0]),
    "Granite": text("GraniteForCausalLM", "GraniteConfig", **GROUPED, embedding_multiplier=2.0,
                       logits_scaling=3.0, residual_multiplier=0.5, attention_multiplier=0.3),
    "OLMo2": text("Olmo2ForCausalLM", "Olmo2Config", **GROUPED),
    "Cohere": text("CohereForCausalLM", "CohereConfig", **GROUPED),
    "StableLM": text("StableLmForCausalLM", "StableLmConfig", num_key_value_heads=2),
    "Qwen2-MoE": text("Qwen2MoeForCausalLM", "Qwen2MoeConfig", **GROUPED, num_experts=4, num_experts_per_tok=2,
                         moe_intermediate_size=32, shared_expert_intermediate_size=32),
    "Granite-MoE": text("GraniteMoeForCausalLM", "GraniteMoeConfig", **GROUPED, num_local_experts=4,
                           num_experts_per_tok=2),
    "Mamba": lambda: (built("MambaForCausalLM", "MambaConfig", "input_ids", **SMALL, state_size=4, time_step_rank=4),
                      [tokens()]),
    "Mamba 2": lambda: (built("Mamba2ForCausalLM", "Mamba2Config", "input_ids", **SMALL, state_size=4, num_heads=8,
                              head_dim=8, n_groups=2, chunk_size=4), [tokens()]),
    "RWKV": lambda: (built("RwkvForCausalLM", "RwkvConfig", "input_ids", **SMALL, attention_hidden_size=32),
                     [tokens()]),
    "LFM2": text("Lfm2ForCausalLM", "Lfm2Config", **GROUPED, layer_types=["conv", "full_attention"]),
    # Sequence to sequence
    "T5": translation("T5ForConditionalGeneration", "T5Config", d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                      dropout_rate=0.0),
    "Flan-T5": translation("T5ForConditionalGeneration", "T5Config", d_kv=8, d_ff=64, num_layers=2, num_heads=4,
                           dropout_rate=0.0, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "BART": translation("BartForConditionalGeneration", "BartConfig"),
    "Marian": translation("MarianMTModel", "MarianConfig"),
    "M2M-100": translation("M2M100ForConditionalGeneration", "M2M100Config", encoder_layerdrop=0.0,
                           decoder_layerdrop=0.0),
    "Pegasus": translation("PegasusForConditionalGeneration", "PegasusConfig"),
    "BlenderBot": translation("BlenderbotForConditionalGeneration", "BlenderbotConfig"),
    # Audio
    "Whisper": whisper,
    "Wav2Vec2": audio("Wav2Vec2ForCTC", "Wav2Vec2Config", 800, conv_dim=[16, 16, 16], conv_kernel=[10, 3, 2],
                      conv_stride=[5, 2, 2], num_feat_extract_layers=3, num_conv_pos_embeddings=16,
                      num_conv_pos_embedding_groups=4, apply_spec_augment=False, layerdrop=0.0),
    "HuBERT": audio("HubertForSequenceClassification", "HubertConfig", 800, conv_dim=[16, 16, 16],
                    conv_kernel=[10, 3, 2], conv_stride=[5, 2, 2], num_feat_extract_layers=3,
                    num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, apply_spec_augment=False,
                    layerdrop=0.0, feat_extract_norm="layer", do_stable_layer_norm=True),
    "WavLM": audio("WavLMForSequenceClassification", "WavLMConfig", 800, conv_dim=[16, 16, 16],
                   conv_kernel=[10, 3, 2], conv_stride=[5, 2, 2], num_feat_extract_layers=3,
                   num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, apply_spec_augment=False,
                   layerdrop=0.0),
    "AST": audio("ASTForAudioClassification", "ASTConfig", 40, 16, max_length=40, num_mel_bins=16, patch_size=8,
                 frequency_stride=4, time_stride=4),
    # Images
    "ViT": vision("ViTForImageClassification", "ViTConfig"),
    "DeiT": vision("DeiTForImageClassification", "DeiTConfig"),
    "BEiT": vision("BeitForImageClassification", "BeitConfig", use_relative_position_bias=True,
                   use_shared_relative_position_bias=False, layer_scale_init_value=0.1, drop_path_rate=0.0),
    "Swin": swin("SwinForImageClassification", "SwinConfig"),
    "Swin V2": swin("Swinv2ForImageClassification", "Swinv2Config"),
    "ConvNeXt": vision("ConvNextForImageClassification", "ConvNextConfig", patch_size=4, num_stages=2,
                       hidden_sizes=[16, 32], depths=[1, 1]),
    "ConvNeXt V2": vision("ConvNextV2ForImageClassification", "ConvNextV2Config", patch_size=4, num_stages=2,
                          hidden_sizes=[16, 32], depths=[1, 1]),
    "DINOv2": vision("Dinov2ForImageClassification", "Dinov2Config"),
    "DINOv2 registers": vision("Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig"),
    "DINOv3": vision("DINOv3ViTModel", "DINOv3ViTConfig", output="pooler_output", num_register_tokens=2),
    "ResNet": vision("ResNetForImageClassification", "ResNetConfig", embedding_size=16, hidden_sizes=[16, 32],
                     depths=[1, 1], layer_type="bottleneck"),
    "RegNet": vision("RegNetForImageClassification", "RegNetConfig", embedding_size=16, hidden_sizes=[16, 32],
                     depths=[1, 1], groups_width=8),
    "EfficientNet": vision("EfficientNetForImageClassification", "EfficientNetConfig", width_coefficient=0.25,
                           depth_coefficient=0.5, hidden_dim=320, dropout_rate=0.0, drop_connect_rate=0.0),
    "MobileNet V2": vision("MobileNetV2ForImageClassification", "MobileNetV2Config", depth_multiplier=0.25),
    "MobileViT": vision("MobileViTForImageClassification", "MobileViTConfig", size=64, image_size=64, patch_size=2,
                        hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 16, 24, 24, 32]),
    "MobileViT V2": vision("MobileViTV2ForImageClassification", "MobileViTV2Config", size=64, image_size=64,
                           patch_size=2, width_multiplier=0.25, n_attn_blocks=[1, 1, 1],
                           base_attn_unit_dims=[32, 32, 32]),
    "SegFormer": vision("SegformerForSemanticSegmentation", "SegformerConfig", size=64, **PYRAMID,
                        hidden_sizes=[16, 32], patch_sizes=[7, 3], strides=[4, 2], mlp_ratios=[2, 2],
                        decoder_hidden_size=16),
    "PVT": vision("PvtForImageClassification", "PvtConfig", size=64, image_size=64, num_encoder_blocks=4,
                  depths=[1, 1, 1, 1], sequence_reduction_ratios=[8, 4, 2, 1], num_attention_heads=[1, 2, 2, 4],
                  hidden_sizes=[8, 16, 24, 32], mlp_ratios=[2, 2, 2, 2], drop_path_rate=0.0),
    "PVT V2": vision("PvtV2ForImageClassification", "PvtV2Config", size=64, image_size=64, **PYRAMID,
                     hidden_sizes=[16, 32], patch_sizes=[7, 3], strides=[4, 2], mlp_ratios=[2, 2]),
    "LeViT": vision("LevitForImageClassification", "LevitConfig", size=64, image_size=64, patch_size=16,
                    hidden_sizes=[16, 24, 32], num_attention_heads=[2, 3, 4], depths=[1, 1, 1], key_dim=[8, 8, 8],
                    drop_path_rate=0.0),
    "EfficientFormer": vision("EfficientFormerForImageClassification", "EfficientFormerConfig", size=224,
                              depths=[1, 1, 1, 2], hidden_sizes=[8, 16, 24, 32], num_meta3d_blocks=1,
                              mlp_expansion_ratio=2, dim=32, drop_path_rate=0.0),
    "PoolFormer": vision("PoolFormerForImageClassification", "PoolFormerConfig", size=64, depths=[1, 1, 1, 1],
                         hidden_sizes=[8, 16, 24, 32], drop_path_rate=0.0),
    "FocalNet": vision("FocalNetForImageClassification", "FocalNetConfig", patch_size=4, embed_dim=16, depths=[1, 1],
                       focal_levels=[2, 2], focal_windows=[3, 3], hidden_sizes=[16, 32], drop_path_rate=0.0),
    "Hiera": vision("HieraForImageClassification", "HieraConfig", size=64, image_size=[64, 64], embed_dim=16,
                    patch_size=[7, 7], depths=[1, 1], num_heads=[1, 2], embed_dim_multiplier=2.0,
                    masked_unit_size=[4, 4], num_query_pool=1, drop_path_rate=0.0),
    "ViTMatte backbone (ViTDet)": vision("VitDetModel", "VitDetConfig", output="last_hidden_state", window_size=2,
                                         window_block_indices=[0], use_relative_position_embeddings=True,
                                         dropout_prob=0.0),
    # Text and images
    "SigLIP": lambda: contrastive("SiglipModel", "SiglipConfig"),
    # Detection, segmentation and depth
    "DETR": detr,
    "YOLOS": vision("YolosForObjectDetection", "YolosConfig", image_size=[32, 32], num_detection_tokens=5),
    "RT-DETR": rt_detr,
    "DPT": dpt,
    "Depth Anything": depth_anything,
    "GLPN": vision("GLPNForDepthEstimation", "GLPNConfig", size=64, output="predicted_depth", **PYRAMID,
                   hidden_sizes=[16, 32], patch_sizes=[7, 3], strides=[4, 2], mlp_ratios=[2, 2],
                   decoder_hidden_size=16),
    # Time series
    "PatchTST": patch_tst,
}  # fmt: skip
