"""Evaluation of methods on benchmarks: the resumable run, metrics and reports."""
