"""What moves of a tensor whose tiles overlap: sums of ranks, as in a convolution."""
