#!/usr/bin/env bash
# Trains the default weights on for some minutes, after a look at whether the GPU does what the CPU does.
#
#   bash examples/train_on_gpu.sh DATA OUT [MINUTES] [WEIGHTS]
#
# DATA: folders or packs of clear pairs, with commas between. OUT gets checks.log, train.log and, every two minutes,
# weights.safetensors. STEPS must fit the minutes: the learning rate falls to its end with them.
set -euo pipefail
data=$1 out=$2 minutes=${3:-10} weights=${4:-iassf-haze}
: "${STEPS:=3000}" "${BATCH:=64}" "${SHAPES:=((128,192),(160,192))}" "${WORKERS:=$(nproc)}" "${CHECK_SECONDS:=120}" "${DTYPE:=bfloat16}"
mkdir -p "$out"
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

{
    python -c "import jax; print(jax.devices())"
    timeout "$CHECK_SECONDS" python -m pytest -q -m "" tests/models/test_gpu_kernels.py tests/models/test_golden.py &&
        timeout "$CHECK_SECONDS" python -m benchmarks --only inference --size 480 640 --rounds 1 --without torch_nhwc
} >"$out/checks.log" 2>&1 || echo "not all checks were passed: see $out/checks.log"

packs=
for root in ${data//,/ }; do
    python -m iassf_jax pack --data "$root" --output "$work/$(basename "$root")" --raw --longest-side 192 --without-hazy
    packs=$packs${packs:+,}$work/$(basename "$root")
done

timeout -s TERM "$((60 * minutes))" python train.py --config configs/haze.py --workdir "$work/run" \
    --config.data.root="$packs" --config.data.num_workers="$WORKERS" --config.data.whole_size="$SHAPES" \
    --config.init_from="$weights" --config.model.dtype="$DTYPE" --config.train.batch_size="$BATCH" \
    --config.train.steps="$STEPS" --config.optim.learning_rate=6e-4 --config.train.ema_decay=0.998 \
    --config.checkpoint.every=100 --config.eval.every=1000 --config.eval.num_images=24 >"$out/train.log" 2>&1 &
training=$!
save() {
    rm -f "$work/new.safetensors"
    if python -m iassf_jax convert "$work/run" "$work/new.safetensors" --dtype float32 >/dev/null 2>&1; then
        mv "$work/new.safetensors" "$out/weights.safetensors"
    fi
}
while kill -0 "$training" 2>/dev/null; do
    for _ in $(seq 120); do kill -0 "$training" 2>/dev/null && sleep 1; done
    save
done
wait "$training" || echo "the training was stopped: see $out/train.log"
save
ls -l "$out"
