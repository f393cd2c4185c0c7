"""The model meets reality: this machine as a `Device`, layers timed for real, and what explains the difference."""
