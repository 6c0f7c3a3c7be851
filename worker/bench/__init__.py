"""Measures and targets of shared/PERFORMANCE.md 7: ratios within one run, beside their identity."""
