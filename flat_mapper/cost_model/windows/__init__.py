"""Words that move of a tensor whose tiles overlap: sums of ranks, as in a convolution."""
