"""A byte-level tokenizer of 300 tokens in the format of Qwen's, built here."""

import pytest

tokenizers = pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")

# One user turn of Qwen3's chat template, as `apply_chat_template` renders it.
_CHAT = ("{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
         "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
         "{% if enable_thinking is defined and enable_thinking is false %}"
         "<think>\n\n</think>\n\n{% endif %}{% endif %}")
_TEXTS = ["a red circle above a blue square", "three small green triangles", "user assistant"]
VOCAB_SIZE = 300


def save(directory, padding_side="right", pad_token="<|endoftext|>"):
  """Writes the tokenizer's files; returns the tokenizer."""
  fast = tokenizers.Tokenizer(tokenizers.models.BPE())
  fast.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  fast.decoder = tokenizers.decoders.ByteLevel()
  special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
  fast.train_from_iterator(_TEXTS * 3, tokenizers.trainers.BpeTrainer(
      vocab_size=VOCAB_SIZE, special_tokens=special, show_progress=False,
      initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
  tokenizer = transformers.PreTrainedTokenizerFast(
      tokenizer_object=fast, eos_token="<|im_end|>", pad_token=pad_token,
      padding_side=padding_side)
  tokenizer.chat_template = _CHAT
  tokenizer.save_pretrained(directory)
  return tokenizer
