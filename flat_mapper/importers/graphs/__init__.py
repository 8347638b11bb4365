"""Operator graphs of whole models, out of ONNX and torch, as one cascade."""
