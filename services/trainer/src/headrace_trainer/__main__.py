"""Runs the service."""

import os

# gRPC's handlers around a fork can end the child before it becomes the worker: seen as a segmentation fault. The child
# becomes another program at once and never calls gRPC. gRPC reads this when it is loaded.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

if __name__ == "__main__":
    from headrace_runtime.service import run

    from headrace_trainer.app import open_app
    from headrace_trainer.settings import Settings

    run("trainer", Settings, open_app)
