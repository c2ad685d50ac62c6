"""Local web pages: drive a trained model, compare clips without knowing whose they are, annotate frames by clicking."""
