from headrace_runtime.service import run

from headrace_feedback.app import open_app
from headrace_feedback.settings import Settings

if __name__ == "__main__":
    run("feedback", Settings, open_app)
