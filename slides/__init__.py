"""Slides: each lecture notebook, as it is stored, becomes one file that is presented offline from disk."""
