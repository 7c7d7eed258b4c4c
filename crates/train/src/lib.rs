//! Objectives, optimisers, schedules, the training loop, checkpoints, forecast and metrics.
