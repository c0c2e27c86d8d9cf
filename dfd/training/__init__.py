"""Training: the LightningModule, its schedules, callbacks, loggers, and the results of a run."""
