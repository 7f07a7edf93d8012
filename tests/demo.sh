#!/bin/sh
# The Quick Start to its end, with a stand-in for the publishing tool. Run by `make demo`.
set -eu
here=$(cd "$(dirname "$0")/quick_start" && pwd)
demo=$here/../../.demo
rm -rf "$demo" && mkdir "$demo" && cd "$demo"
cp "$here/workflow.yaml" "$here/input.json" .
PATH="$here/bin:$PATH"
export CHECKPOINTFLOW_BASE_DIR="$PWD/store"

show() {
    expected=$1
    shift
    printf '\n$ %s\n' "$*"
    code=0
    "$@" < /dev/null || code=$?
    printf '(exit code %s)\n' "$code"
    [ "$code" = "$expected" ] || { echo "expected $expected" >&2; exit 1; }
}

show 0 cpf validate --strict workflow.yaml --text
show 40 cpf run workflow.yaml --input @input.json --text
show 40 cpf status @latest --json
show 0 cpf resume @latest --set decision=approve --text
show 0 cpf report @latest -o run.html --text
show 0 cpf list --text
printf '\nThe run lies in .demo/store/runs: its state, its history, and what its steps printed. .demo/run.html shows it.\n'
