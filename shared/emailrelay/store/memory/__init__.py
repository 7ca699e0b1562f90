"""A store within one process, for tests and trials: its mail ends with the process."""
