from headrace_runtime.service import run

from headrace_trainer.app import open_app
from headrace_trainer.settings import Settings

if __name__ == "__main__":
    run("trainer", Settings, open_app)
