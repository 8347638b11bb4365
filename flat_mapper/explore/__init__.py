"""Questions of many searches: needs, fronts, generation, sweeps."""
