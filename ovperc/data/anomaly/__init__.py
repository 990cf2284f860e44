"""Anomaly localization data sets: normal and anomalous images by category, with masks."""

from ovperc.data.anomaly.records import AnomalyImages, AnomalyRecord, AnomalySample

__all__ = ["AnomalyImages", "AnomalyRecord", "AnomalySample"]
