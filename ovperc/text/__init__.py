"""Words: vocabularies, prompt templates, text banks and the classifier that asks them."""
