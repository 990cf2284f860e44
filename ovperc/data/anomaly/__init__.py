"""Test sets of anomaly localization: products by category, normal and defective, with masks of the defects."""

from ovperc.data.anomaly.records import AnomalyImages, AnomalyRecord, AnomalySample

__all__ = ["AnomalyImages", "AnomalyRecord", "AnomalySample"]
