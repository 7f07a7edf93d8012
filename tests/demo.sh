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
    "$@" >envelope.json || code=$?
    cat envelope.json
    printf '(exit code %s)\n' "$code"
    [ "$code" = "$expected" ] || { echo "expected $expected" >&2; exit 1; }
}

show 0 cpf validate -f workflow.yaml
show 40 cpf run -f workflow.yaml --input @input.json
run_id=$(sed -n 's/.*"run_id":"\([^"]*\)".*/\1/p' envelope.json)
show 40 cpf status --run-id "$run_id"
printf '\n$ echo %s > response.json\n' "'{\"decision\": \"approve\"}'"
echo '{"decision": "approve"}' > response.json
show 0 cpf resume --run-id "$run_id" --event change_approval --input @response.json
show 0 cpf status --run-id "$run_id"
printf '\nThe run lies in %s: its state, its history, and what its steps printed.\n' ".demo/store/runs/$run_id"
