"""Zero- and few-shot anomaly localization on frozen towers."""
