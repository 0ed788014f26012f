"""Loads what tools/adapters/write.ts wrote: PEFT loads the folder over the same model in PyTorch, onnxruntime's
LoraAdapter the .onnx_adapter over the LoRA-ready base. Outputs must agree to 1e-4."""

import json
import pathlib
import sys
import warnings

import numpy as np
import onnxruntime as ort
import peft
import torch
import transformers
from safetensors.torch import load_file

from models import Grouped, Logits, Mixed, llama

root = pathlib.Path(__file__).resolve().parents[2] / 'test' / 'adapter' / 'golden'
tolerance = 1e-4
# The base of each variant in write.ts; llama by default.
bases = {'kinds': 'mixed', 'dora': 'mixed', 'saved': 'mixed', 'grouped': 'grouped', 'grouped-dora': 'grouped'}


def base_of(name):
    if name == 'grouped':
        torch.manual_seed(5)
        return Grouped().eval()
    model = llama() if name == 'llama' else Mixed().eval()
    model.load_state_dict(load_file(root / f'{name}.safetensors'), strict=False)
    return model


def run(path, feeds, adapter=None):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    run_options = ort.RunOptions()
    if adapter:
        run_options.add_active_adapter(adapter)
    return session.run(None, feeds, run_options)[0]


def difference(found, expected):
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def verify(folder, inputs):
    name = bases.get(folder.name, 'llama')
    key = {'mixed': 'ids', 'grouped': 'x', 'llama': 'input_ids'}[name]
    tensor = inputs['tokens' if name == 'llama' else key]
    feeds = {key: tensor.numpy()}
    model = base_of(name)
    with torch.no_grad():
        base = (Logits(model)(tensor) if name == 'llama' else model(tensor)).numpy()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        tuned = peft.PeftModel.from_pretrained(model, str(folder / 'peft')).eval()
        texts = [str(w.message).splitlines()[0] for w in caught]
        missing = [text for text in texts if 'adapter' in text.lower() and 'Merging is not supported' not in text]
    with torch.no_grad():
        result = tuned(tensor)
        expected = (result.logits if hasattr(result, 'logits') else result).numpy()
    row = {
        'variant': folder.name,
        'change': difference(base, expected),
        'beside': difference(run(folder / 'beside.onnx', feeds), expected),
        'merged': difference(run(folder / 'merged.onnx', feeds), expected),
        'warnings': missing,
    }
    file = folder / 'adapter.onnx_adapter'
    if file.exists():
        adapter = ort.LoraAdapter()
        adapter.Load(str(file))
        row['onnx_adapter'] = difference(run(folder / 'base.onnx', feeds, adapter), expected)
        row['base alone'] = difference(run(folder / 'base.onnx', feeds), base)
        parsed = ort.AdapterFormat.read_adapter(str(file))
        assert parsed.get_format_version() == 1 and parsed.get_parameters()
    errors = [row[key] for key in ('beside', 'merged', 'onnx_adapter', 'base alone') if key in row]
    row['passed'] = max(errors) < tolerance and row['change'] > 0.01 and not missing
    return row


def main():
    inputs = load_file(root / 'outputs.safetensors') | {'x': load_file(root / 'methods.safetensors')['x']}
    rows = [verify(folder, inputs) for folder in sorted(pathlib.Path(sys.argv[1]).iterdir())]
    columns = ['variant', 'change', 'beside', 'merged', 'onnx_adapter', 'base alone']
    print(f'torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}, onnxruntime {ort.__version__}\n')
    print('| ' + ' | '.join(columns) + ' |\n|' + '---|' * len(columns))
    for row in rows:
        cells = [row.get(column, '-') for column in columns]
        print('| ' + ' | '.join(f'{cell:.1e}' if isinstance(cell, float) else str(cell) for cell in cells) + ' |')
    failed = [row for row in rows if not row['passed']]
    print(json.dumps(failed, indent=2) if failed else f'\nall {len(rows)} agree to {tolerance}')
    sys.exit(1 if failed else 0)


main()
