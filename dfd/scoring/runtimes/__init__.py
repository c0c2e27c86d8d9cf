"""What computes a detector's scores: torch, onnxruntime or an exported program. Frames in, probabilities out."""
