#!/usr/bin/env bash
# One step of a release. github.yml and gitlab-ci.yml run them in this order:
#
#   train, pack                       where the signing key is, and nothing of the server
#   check, record, roll-out, label    where the server and its model store are, and nothing of the key
#   roll-back, label                  by hand
#
# README.md beside this says which variables each step reads. Secrets come in variables and are never arguments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

step=${1:?"a step expected: train, pack, check, record, roll-out, label or roll-back"}
python=.venv/bin/python
model=${MODEL:-tick}
archive=build/$model.mar
report=build/rollout.json
trusted=${TRUSTED_KEYS:-trusted_keys}
read -ra train_args <<< "${TRAIN_ARGS:-}"
read -ra rollout_args <<< "${ROLLOUT_ARGS:-}"

# Which server: the one that scripts/serve.py runs on this host, or one by its URLs and tokens.
if [[ -n ${TORCHSERVE_HOME:-} ]]; then
    server=(--home "$TORCHSERVE_HOME")
else
    server=(--management-url "${TORCHSERVE_MANAGEMENT_URL:-}" --inference-url "${TORCHSERVE_INFERENCE_URL:-}"
            --model-store "${MODEL_STORE:-}")
    [[ -z ${TORCHSERVE_METRICS_URL:-} ]] || server+=(--metrics-url "$TORCHSERVE_METRICS_URL")
    [[ -z ${TORCHSERVE_CONFIG:-} ]] || server+=(--config "$TORCHSERVE_CONFIG")
fi
needs_server() {
    [[ -n ${TORCHSERVE_HOME:-} ]] && return
    : "${TORCHSERVE_MANAGEMENT_URL:?the URL of the management port expected, or TORCHSERVE_HOME}"
    : "${TORCHSERVE_INFERENCE_URL:?the URL of the inference port expected}"
    : "${MODEL_STORE:?the folder of its archives expected, as this runner sees it}"
}
needs_registry() {
    : "${MLFLOW_TRACKING_URI:?an MLflow server or database expected: a file in the workspace would not last}"
}

case $step in
train)
    "$python" scripts/train.py "$model" --out "runs/$model" "${train_args[@]}"
    ;;
pack)
    : "${MODEL_VERSION:?a version that no archive had before expected}"
    "$python" scripts/archive.py "$model" --run "runs/$model" --version "$MODEL_VERSION" --out build \
        --sign-key env:ARCHIVE_SIGN_KEY
    ;;
check)
    rm -f "$report" # an earlier job's
    "$python" scripts/verify.py "$archive" --trusted "$trusted"
    ;;
record)
    needs_registry
    "$python" scripts/registry.py add "$archive" --run "runs/$model" --trusted "$trusted"
    ;;
roll-out)
    needs_server
    "$python" scripts/rollout.py register "$model" --archive "$archive" --trusted "$trusted" "${server[@]}" \
        "${rollout_args[@]}" --json > "$report"
    ;;
roll-back)
    needs_server
    mkdir -p build
    "$python" scripts/rollout.py rollback "$model" ${ROLLBACK_TO:+--to "$ROLLBACK_TO"} "${server[@]}" --json > "$report"
    ;;
label) # what the step before has made the default version, and only if it is still
    needs_server
    needs_registry
    version=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["version"])' "$report")
    "$python" scripts/registry.py alias "$model" "$version" production --no-rollout --trusted "$trusted" "${server[@]}"
    ;;
*)
    echo "deploy/ci/release.sh: train, pack, check, record, roll-out, label or roll-back expected, was $step" >&2
    exit 2
    ;;
esac
