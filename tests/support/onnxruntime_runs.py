"""What onnxruntime makes of a graph, node by node, and whether we make the same of it."""

import numpy as np
import onnxruntime


def theirs(path, feeds):
    """What onnxruntime makes of a graph, or None if it refuses it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    quiet = onnxruntime.RunOptions()
    quiet.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return session.run(None, feeds, quiet)
    except Exception:  # onnxruntime's errors have no base of their own
        return None


def agrees(found, right):
    assert found.shape == right.shape
    assert (found.dtype.kind == "f") == (right.dtype.kind == "f")
    if right.dtype.kind == "f":
        assert np.allclose(found, right, rtol=1e-4, atol=1e-4, equal_nan=True)
