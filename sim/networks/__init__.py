"""Networks that run as a whole: what they have in common, ONNX graphs with steps on the host, recurrent cells."""
