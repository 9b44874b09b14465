"""The Transformer of Qwen3, and of the text side of Qwen2.5-VL, as text encoders."""
