"""The fixed forward process: schedules, Gaussian kernels, trajectories."""
