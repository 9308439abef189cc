"""Runs the classifier."""

from headrace_runtime.service import run

from headrace_classifier.app import open_app
from headrace_classifier.settings import Settings

run("classifier", Settings, open_app)
