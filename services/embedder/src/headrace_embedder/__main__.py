from headrace_runtime.service import run

from headrace_embedder.app import open_app
from headrace_embedder.settings import Settings

if __name__ == "__main__":
    run("embedder", Settings, open_app)
