"""Readers of what people bring: safetensors, NumPy arrays, ONNX, PyTorch checkpoints."""
