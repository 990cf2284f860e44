"""Evaluation of methods on benchmarks: resumable runs, metrics and reports."""
