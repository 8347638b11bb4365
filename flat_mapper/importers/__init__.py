"""Problems out of other programs' files: layers of Timeloop, models of Hugging Face and ONNX."""
