"""Networks with steps on the host: ONNX graphs, recurrent cells, pictures and sound."""
