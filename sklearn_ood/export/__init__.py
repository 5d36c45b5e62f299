"""Write a classifier as an ONNX graph, for programs that have neither Python nor torch."""

from sklearn_ood.export._graph import to_onnx

__all__ = ["to_onnx"]
