"""Vocabularies, prompt templates, text banks and the classifier."""
