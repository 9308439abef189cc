"""Runs the retriever."""

from headrace_runtime.service import run

from headrace_retriever.app import open_app
from headrace_retriever.settings import Settings

run("retriever", Settings, open_app)
