from headrace_runtime.service import run

from headrace_drift.app import open_app
from headrace_drift.settings import Settings

if __name__ == "__main__":
    run("drift", Settings, open_app)
