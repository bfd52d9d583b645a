"""Many runs: a grid, and pools of workers that compute it."""
