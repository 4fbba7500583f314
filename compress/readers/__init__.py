"""Readers of what people bring: safetensors, NumPy arrays, ONNX, PyTorch checkpoints."""

from eie.compress.readers.files import MODEL_KINDS, read_model

__all__ = ["MODEL_KINDS", "read_model"]
