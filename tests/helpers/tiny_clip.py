"""A CLIP of transformers with random weights, a tokenizer of letters and an image processor."""

import pytest

torch = pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

LENGTH = 12  # Tokens that it reads, two of them the ends.
SIDE = 16  # Pixels that it reads.
_NET = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2}


def tokenizer():
  """One token per byte, of 514."""
  letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
  words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
  return transformers.CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])


def save(directory, seed=0, **changes):
  """Writes all files that `Clip` reads; returns the model.

  Args:
    directory: to write into.
    seed: of the weights.
    **changes: of the text's config.
  """
  words = tokenizer()
  ends = {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("bos", "eos", "pad")}
  config = transformers.CLIPConfig(
      text_config=_NET | ends | {"vocab_size": len(words), "max_position_embeddings": LENGTH}
      | changes, vision_config=_NET | {"image_size": SIDE, "patch_size": 8}, projection_dim=8)
  torch.manual_seed(seed)
  model = transformers.CLIPModel(config).eval()
  with torch.no_grad():
    for name, value in model.named_parameters():
      if name.endswith("weight") and value.ndim > 1:
        value.mul_(20)  # Initial weights are small: all embeddings would be nearly equal.
  model.save_pretrained(directory)
  words.save_pretrained(directory)
  transformers.CLIPImageProcessorPil(
      size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
  ).save_pretrained(directory)
  return model
