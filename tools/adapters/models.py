"""The small models of the golden files."""

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(32, 12)
        self.fc2 = nn.Linear(12, 5)


class Mixed(nn.Module):
    """An embedding, a convolution, a linear layer on three axes (MatMul) and one on two (Gemm)."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(13, 8)
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.block = Block()

    def forward(self, ids):
        image = self.conv(self.embed(ids).unsqueeze(1))
        hidden = image.permute(0, 2, 1, 3).flatten(2)
        return self.block.fc2(torch.tanh(self.block.fc1(hidden)).mean(1))


def llama():
    """A Llama of two layers with random weights."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32, initializer_range=0.3, attn_implementation='eager',
    )
    return LlamaForCausalLM(config).eval()


class Logits(nn.Module):
    """A language model from token ids to logits, without a cache."""

    def __init__(self, model):
        super().__init__()
        self.model = model.model
        self.lm_head = model.lm_head

    def forward(self, input_ids):
        # A mask of four axes is used as it is; the library's own masks do not export.
        length = input_ids.shape[1]
        mask = torch.full((length, length), -1e9).triu(1)[None, None]
        hidden = self.model(input_ids=input_ids, attention_mask=mask, use_cache=False).last_hidden_state
        return self.lm_head(hidden)


class Grouped(nn.Module):
    """A convolution of two groups and two linear layers with biases."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, padding=1, groups=2)
        self.k_proj = nn.Linear(6, 12)
        self.down_proj = nn.Linear(12, 9)

    def forward(self, x):
        hidden = self.conv(x).flatten(2).transpose(1, 2)
        return self.down_proj(torch.tanh(self.k_proj(hidden)))
