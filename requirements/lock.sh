#!/usr/bin/env bash
# Pins every requirement with its hashes. `bench` is the widest set, so it decides the versions and the others follow
# it: a service's image then runs exactly what the tests ran. Run by `make lock`.
set -euo pipefail
cd "$(dirname "$0")"
uv=${UV:-../.venv/bin/uv}
compile() {
    "$uv" pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
        --override overrides.in "$@"
}
compile bench.in --output-file bench.txt
for name in uv build dev ingest classifier embedder retriever inference feedback trainer drift embedded; do
    compile "$name.in" --constraint bench.txt --output-file "$name.txt"
done
compile traces.in --output-file traces.txt
# What stands beside the house's own packages in one process has their versions.
compile mlflow.in --constraint bench.txt --output-file mlflow.txt
