"""Where is this part damaged? Zero- and few-shot anomaly localization on frozen towers."""
